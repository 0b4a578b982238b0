//! Which groups are trained on.
//!
//! A group that would teach nothing costs an update as much as any other, and dilutes it. Rejected groups are still
//! written to disk and shown to the curriculum.

mod advantage;
mod band;
mod truncation;
mod variance;

use reft_config::FilterConfig;
use reft_core::{GroupFilter, ScoredGroup, Stateful, Verdict};

pub use advantage::AdvantageRange;
pub use band::SuccessBand;
pub use truncation::Truncation;
pub use variance::ZeroVariance;

/// The filters that a recipe asks for, in the order in which they are asked.
pub fn build(config: &FilterConfig) -> Vec<Box<dyn GroupFilter>> {
    let mut filters: Vec<Box<dyn GroupFilter>> = Vec::new();
    if config.zero_variance {
        filters.push(Box::new(ZeroVariance));
    }
    if config.max_truncated < 1.0 {
        filters.push(Box::new(Truncation { max: config.max_truncated }));
    }
    if let Some(band) = config.success_band {
        filters.push(Box::new(SuccessBand { low: band.low, high: band.high }));
    }
    if config.advantage_range > 0.0 {
        filters.push(Box::new(AdvantageRange { min: config.advantage_range }));
    }
    // One that admits everything keeps the state of a phase without filters as it always was.
    if filters.is_empty() {
        filters.push(Box::new(Everything));
    }
    filters
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

/// A verdict with a reason.
fn reject(reason: &str) -> Verdict {
    Verdict::Reject { reason: reason.to_owned() }
}
