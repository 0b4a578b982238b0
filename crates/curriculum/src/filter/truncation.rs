//! Groups whose answers were cut.

use reft_core::{FinishReason, GroupFilter, ScoredGroup, Stateful, Verdict};

use super::reject;

/// Rejects groups in which a share of more than `max` of the answers was cut by the length limit, for the reason
/// `truncated`.
///
/// The overlong filtering of DAPO (arXiv 2503.14476, section 3.4) for whole groups: a cut answer is punished for its
/// length and not for what it says, which is noise where the limit is tight.
#[derive(Clone, Copy, Debug)]
pub struct Truncation {
    /// Largest share of cut answers.
    pub max: f64,
}

impl Stateful for Truncation {}

impl GroupFilter for Truncation {
    fn judge(&mut self, group: &ScoredGroup) -> Verdict {
        let completions = &group.group.completions;
        let cut = completions.iter().filter(|completion| completion.finish == FinishReason::Length).count();
        let share = cut as f64 / completions.len().max(1) as f64;
        if share <= self.max { Verdict::Admit } else { reject("truncated") }
    }
}
