//! Groups whose answers are almost equally good.

use reft_core::{GroupFilter, ScoredGroup, Stateful, Verdict};

use super::reject;

/// Rejects groups with `max A - min A < min`, for the reason `advantage_range`: an update would be all noise.
///
/// After the advantage gate of prime-rl. Rewards that are graded (IoU, lengths) hardly ever tie, so `zero_variance` passes
/// groups that differ in the third digit only. Advantages that were divided by their deviation hide that, so use this
/// with Dr.GRPO's or RLOO's, where the range is in units of reward.
#[derive(Clone, Copy, Debug)]
pub struct AdvantageRange {
    /// Smallest range that is worth an update.
    pub min: f64,
}

impl Stateful for AdvantageRange {}

impl GroupFilter for AdvantageRange {
    fn judge(&mut self, group: &ScoredGroup) -> Verdict {
        let advantages = || group.advantages.iter().map(|&a| f64::from(a));
        let range =
            advantages().fold(f64::NEG_INFINITY, f64::max) - advantages().fold(f64::INFINITY, f64::min);
        if range >= self.min { Verdict::Admit } else { reject("advantage_range") }
    }
}
