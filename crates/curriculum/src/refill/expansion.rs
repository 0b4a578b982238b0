//! Expansion: ask more questions from the start.

use reft_config::ExpansionConfig;
use reft_core::{Filled, Metrics, Refill, StageError, Stateful};
use serde_json::{Value, json};

use super::dynamic::step;

/// Ratio-based sampling expansion of RLCS (GLM-4.1V-Thinking, arXiv 2507.01006).
///
/// With `v` the share of a step's groups that the filters left out, and its moving average
/// `V <- decay * V + (1 - decay) * v` (0 at the start), the next step asks `ceil(wanted * ratio)` questions in one
/// call, `ratio = min(1 / (1 - V), max_ratio)`. One larger call keeps the accelerator busier than several small ones;
/// the batch is full on average, not always.
#[derive(Clone, Copy, Debug)]
pub struct Expansion {
    config: ExpansionConfig,
    rejected: f64,
    last: Filled,
}

impl Expansion {
    /// Starts with a ratio of 1.
    pub fn new(config: ExpansionConfig) -> Self {
        Self { config, rejected: 0.0, last: Filled::default() }
    }

    /// Questions per wanted group.
    pub fn ratio(&self) -> f64 {
        (1.0 / (1.0 - self.rejected)).min(self.config.max_ratio)
    }
}

impl Stateful for Expansion {
    fn save(&self) -> Result<Value, StageError> {
        Ok(json!(self.rejected))
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.rejected =
            state.as_f64().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| StageError::State {
                stage: "refill",
                message: format!("`{state}` is not a share; resume with the same recipe"),
            })?;
        Ok(())
    }
}

impl Refill for Expansion {
    fn ask(&mut self, filled: &Filled) -> usize {
        if filled.rounds > 0 { 0 } else { (filled.wanted as f64 * self.ratio()).ceil() as usize }
    }

    fn observe(&mut self, filled: &Filled) {
        self.last = *filled;
        let rejected = 1.0 - filled.admitted as f64 / filled.asked.max(1) as f64;
        self.rejected = self.config.decay * self.rejected + (1.0 - self.config.decay) * rejected;
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = step(&self.last);
        metrics.set("refill/ratio", self.ratio());
        metrics
    }
}
