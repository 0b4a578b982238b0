//! Dynamic sampling: ask again until the batch is full.

use reft_config::DynamicConfig;
use reft_core::{Filled, Metrics, Refill, Stateful};

/// Dynamic sampling of DAPO (Yu et al., arXiv 2503.14476, section 3.2): questions whose answers are all right or all
/// wrong are replaced by others until the batch is full, so that every update has the same number of useful groups.
///
/// The first call asks `wanted` questions, each further one as many as the share admitted so far calls for,
/// `ceil(missing * asked / admitted)`, at most `wanted`. After `max_rounds` calls the step trains on what there is.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic {
    config: DynamicConfig,
    last: Filled,
}

impl Dynamic {
    /// Nothing is remembered from step to step.
    pub fn new(config: DynamicConfig) -> Self {
        Self { config, last: Filled::default() }
    }
}

impl Stateful for Dynamic {}

impl Refill for Dynamic {
    fn ask(&mut self, filled: &Filled) -> usize {
        let missing = filled.wanted.saturating_sub(filled.admitted);
        if filled.rounds >= self.config.max_rounds || missing == 0 {
            return 0;
        }
        if filled.admitted == 0 {
            return filled.wanted;
        }
        (missing * filled.asked).div_ceil(filled.admitted).min(filled.wanted)
    }

    fn observe(&mut self, filled: &Filled) {
        self.last = *filled;
    }

    fn metrics(&self) -> Metrics {
        step(&self.last)
    }
}

/// Numbers that every refill has.
pub(super) fn step(filled: &Filled) -> Metrics {
    let mut metrics = Metrics::new();
    metrics.set("refill/rounds", filled.rounds as f64);
    metrics.set("refill/asked", filled.asked as f64);
    metrics.set("refill/missing", filled.wanted.saturating_sub(filled.admitted) as f64);
    metrics
}
