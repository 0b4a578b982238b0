//! A weighted sum of rewards that keeps every part.

use reft_config::{LanguageConfig, LengthConfig, RepetitionConfig, RewardConfig};
use reft_core::{Completion, PixelBudget, Reward, RewardOutcome, RewardParts, Sample, StageError};
use reft_peer_rewards::{PeerReward, PeerStage};

use crate::{
    Accuracy, Format, RemoteReward, RewardError, UnknownReward,
    shape::{CosineLength, FormatFirst, Language, Overlong, Repetition},
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
    /// With rewards of peers, programs or servers, accuracy and format are left out where their weights are 0, because
    /// their data may not be readable for us.
    pub fn from_recipe(config: &RewardConfig, budget: Option<PixelBudget>) -> Result<Self, RewardError> {
        let mut rubric = Self::new();
        let only_ours = config.peers.is_empty() && config.program.is_empty() && config.server.is_empty();
        let wanted = |weight: f32| weight != 0.0 || only_ours;
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
        if let Some(LanguageConfig { script, weight }) = config.language {
            rubric = rubric.with(weight, Language { script });
        }
        for (name, &weight) in &config.peers {
            let reward = PeerReward::named(name).ok_or_else(|| UnknownReward { name: name.clone() })?;
            rubric = rubric.with(weight, PeerStage { reward, budget });
        }
        for (name, program) in &config.program {
            rubric = rubric.with(program.weight, RemoteReward::program(name, program));
        }
        for (name, server) in &config.server {
            rubric = rubric.with(server.weight, RemoteReward::server(name, server)?);
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
            let RewardParts { total, outcome, .. } = reward.score_parts(sample, completion)?;
            scored.total += weight * total;
            scored.parts.push((reward.name().to_owned(), total));
            // The first part without a score says why.
            if scored.outcome == RewardOutcome::Score {
                scored.outcome = outcome;
            }
        }
        Ok(scored)
    }
}
