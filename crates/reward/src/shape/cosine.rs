//! Cosine length reward (Yeo et al. 2025, arXiv 2502.03373, section 4.2).

use std::f32::consts::PI;

use reft_config::CosineConfig;
use reft_core::{Completion, Reward, Sample, StageError};

/// Accuracy from which on an answer counts as right.
const RIGHT_FROM: f32 = 0.5;

/// In place of accuracy: with L of at most T tokens, `end + (start - end) * (1 + cos(pi * L / T)) / 2`.
///
/// Right answers go from `right_short` to `right_long`, so brevity pays; wrong ones from `wrong_short` to `wrong_long`,
/// so that giving up early costs most. Range: between the least and the largest of the four.
pub struct CosineLength {
    /// Says whether an answer is right: at least 0.5.
    pub accuracy: Box<dyn Reward>,
    /// The four ends and T.
    pub config: CosineConfig,
}

impl Reward for CosineLength {
    fn name(&self) -> &str {
        self.accuracy.name()
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let right = self.accuracy.score(sample, completion)? >= RIGHT_FROM;
        let CosineConfig { max_tokens, right_short, right_long, wrong_short, wrong_long } = self.config;
        let (start, end) = if right { (right_short, right_long) } else { (wrong_short, wrong_long) };
        let part = (completion.token_ids.len() as f32 / max_tokens.max(1) as f32).min(1.0);
        Ok(end + (start - end) * (1.0 + (PI * part).cos()) / 2.0)
    }
}
