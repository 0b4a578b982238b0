//! A weighted sum of rewards that keeps every part.

use reft_config::RewardConfig;
use reft_core::{Completion, PixelBudget, Reward, RewardParts, Sample, StageError};

use crate::{Accuracy, Format};

/// `total = sum of weight * part`; the logs get every part unweighted.
///
/// ```
/// use reft_reward::{Format, Rubric};
/// let rubric = Rubric::new().with(0.5, Format);
/// ```
#[derive(Default)]
pub struct Rubric {
    parts: Vec<(f32, Box<dyn Reward>)>,
}

impl Rubric {
    /// A rubric that pays nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reward with its weight.
    #[must_use]
    pub fn with(mut self, weight: f32, reward: impl Reward + 'static) -> Self {
        self.parts.push((weight, Box::new(reward)));
        self
    }

    /// The paper's reward: accuracy + format, with the recipe's weights.
    /// `budget` is needed only where boxes are in model-input pixels.
    pub fn paper(config: &RewardConfig, budget: Option<PixelBudget>) -> Self {
        Self::new().with(config.accuracy, Accuracy::new(config, budget)).with(config.format, Format)
    }
}

impl Reward for Rubric {
    fn name(&self) -> &'static str {
        "rubric"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(self.score_parts(sample, completion)?.total)
    }

    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let mut scored = RewardParts::default();
        for (weight, reward) in &self.parts {
            let value = reward.score(sample, completion)?;
            scored.total += weight * value;
            scored.parts.push((reward.name().to_owned(), value));
        }
        Ok(scored)
    }
}
