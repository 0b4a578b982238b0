//! Groups without a difference.

use reft_core::{GroupFilter, ScoredGroup, Stateful, Verdict};

use super::reject;

/// Rejects groups whose rewards are all equal, for the reason `zero_variance`: their advantages are zero, so only the
/// KL term would act. With a [refill](crate::refill) this is the dynamic sampling of DAPO (arXiv 2503.14476), which
/// keeps `0 < |right answers| < G`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZeroVariance;

impl Stateful for ZeroVariance {}

impl GroupFilter for ZeroVariance {
    fn judge(&mut self, group: &ScoredGroup) -> Verdict {
        if group.counted_totals().windows(2).any(|pair| pair[0] != pair[1]) {
            Verdict::Admit
        } else {
            reject("zero_variance")
        }
    }
}
