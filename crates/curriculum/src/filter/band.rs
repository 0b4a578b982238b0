//! Groups that are neither too easy nor too hard.

use reft_core::{GroupFilter, ScoredGroup, Stateful, Verdict};

use super::reject;

/// Admits groups whose mean accuracy `p` satisfies `low <= p <= high`; rejects others as `too_hard` or `too_easy`.
///
/// Online difficulty filtering (Bae et al., arXiv 2504.03380): the expected improvement by a question is bounded from
/// below by the variance of its reward, `p (1 - p)` for right or wrong, so the middle teaches most and a band balanced
/// around one half maximises the bound. With a [refill](crate::refill) the batch keeps its size, as theirs does.
#[derive(Clone, Copy, Debug)]
pub struct SuccessBand {
    /// Smallest mean accuracy.
    pub low: f64,
    /// Largest mean accuracy.
    pub high: f64,
}

impl Stateful for SuccessBand {}

impl GroupFilter for SuccessBand {
    fn judge(&mut self, group: &ScoredGroup) -> Verdict {
        let p = group.pass_rate();
        if p < self.low {
            reject("too_hard")
        } else if p > self.high {
            reject("too_easy")
        } else {
            Verdict::Admit
        }
    }
}
