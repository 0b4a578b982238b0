//! A weighted sum of rewards that keeps every part.

use reft_config::{LengthConfig, RepetitionConfig, RewardConfig};
use reft_core::{Completion, PixelBudget, Reward, RewardParts, Sample, StageError};

use crate::{
    Accuracy, Format, UnknownReward,
    peers::{PeerReward, PeerStage},
    shape::{CosineLength, FormatFirst, Overlong, Repetition},
};

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

    /// What a recipe pays: the paper's reward, gated, shaped by length and joined by other parts where it says so.
    ///
    /// With peers' rewards, accuracy and format are left out where their weights are 0, because a peer's data may not
    /// be readable for them.
    pub fn from_recipe(config: &RewardConfig, budget: Option<PixelBudget>) -> Result<Self, UnknownReward> {
        let mut rubric = Self::new();
        let wanted = |weight: f32| weight != 0.0 || config.peers.is_empty();
        if wanted(config.accuracy) {
            let mut accuracy: Box<dyn Reward> = Box::new(Accuracy::new(config, budget));
            if let Some(LengthConfig::Cosine(config)) = config.length {
                accuracy = Box::new(CosineLength { accuracy, config });
            }
            if config.format_first {
                accuracy = Box::new(FormatFirst(accuracy));
            }
            rubric.parts.push((config.accuracy, accuracy));
        }
        if wanted(config.format) {
            rubric = rubric.with(config.format, Format);
        }
        if let Some(LengthConfig::Overlong { max_tokens, buffer_tokens, weight }) = config.length {
            rubric = rubric.with(weight, Overlong { max_tokens, buffer_tokens });
        }
        if let Some(RepetitionConfig { words, weight }) = config.repetition {
            rubric = rubric.with(weight, Repetition { words });
        }
        for (name, &weight) in &config.peers {
            let reward = PeerReward::named(name).ok_or_else(|| UnknownReward { name: name.clone() })?;
            rubric = rubric.with(weight, PeerStage { reward, budget });
        }
        Ok(rubric)
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
