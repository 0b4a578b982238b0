//! Which groups are trained on.

use reft_config::FilterConfig;
use reft_core::{GroupFilter, ScoredGroup, Stateful, Verdict};

/// The filter that a recipe asks for.
pub fn build(config: &FilterConfig) -> Box<dyn GroupFilter> {
    if config.zero_variance { Box::new(ZeroVariance) } else { Box::new(Everything) }
}

/// Rejects groups whose rewards are all equal, for the reason `zero_variance`: their advantages are zero, so only the
/// KL term would act (the dynamic sampling of DAPO, without drawing again).
#[derive(Clone, Copy, Debug, Default)]
pub struct ZeroVariance;

impl Stateful for ZeroVariance {}

impl GroupFilter for ZeroVariance {
    fn judge(&mut self, group: &ScoredGroup) -> Verdict {
        if group.rewards.windows(2).any(|pair| pair[0].total != pair[1].total) {
            Verdict::Admit
        } else {
            Verdict::Reject { reason: "zero_variance".to_owned() }
        }
    }
}

/// Admits every group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Stateful for Everything {}

impl GroupFilter for Everything {
    fn judge(&mut self, _group: &ScoredGroup) -> Verdict {
        Verdict::Admit
    }
}
