//! The settings of the stages that phases are made of.

use std::collections::BTreeMap;

use reft_core::{Form, SamplingParams, Seed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::FrameName;

/// [`Form`] with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WithForm(pub Form);

impl JsonSchema for WithForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Form".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": ["binary", "choice", "open"]})
    }
}

/// How completions are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Completions per prompt (G). Curr-ReFT: 4. With 2, normalised advantages are always 0 or +-0.707.
    pub group_size: usize,
    /// Softmax temperature; 0 is greedy.
    pub temperature: f32,
    /// Nucleus mass; 1 keeps all tokens.
    pub top_p: f32,
    /// Most likely tokens to keep; 0 keeps all.
    pub top_k: usize,
    /// Longest completion in tokens. Curr-ReFT: 256.
    pub max_new_tokens: usize,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { group_size: 4, temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: 256 }
    }
}

impl SamplingConfig {
    /// The parameters of a rollout at a place of the run.
    pub fn params(&self, seed: Seed) -> SamplingParams {
        SamplingParams {
            group_size: self.group_size,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_new_tokens: self.max_new_tokens,
            seed,
        }
    }
}

/// The paper's rewards (method section 3): total = accuracy * weight + format * weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Weight of the accuracy part.
    pub accuracy: f32,
    /// Weight of the format part.
    pub format: f32,
    /// How open detection pays.
    pub detection: DetectionReward,
    /// IoU above which `threshold` pays 1.
    pub iou_threshold: f64,
    /// When a choice with several right letters pays 0.2.
    pub partial: PartialCredit,
    /// The frame of the boxes that the model writes.
    pub answer_frame: FrameName,
    /// Pay accuracy only where the format is kept.
    pub format_first: bool,
    /// How the length of a completion is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthConfig>,
    /// A penalty for repeated phrases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition: Option<RepetitionConfig>,
    /// Other projects' rewards by name, with their weights.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, f32>,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            accuracy: 1.0,
            format: 1.0,
            detection: DetectionReward::Threshold,
            iou_threshold: 0.5,
            partial: PartialCredit::Subset,
            answer_frame: FrameName::default(),
            format_first: false,
            length: None,
            repetition: None,
            peers: BTreeMap::new(),
        }
    }
}

/// How the length of a completion is paid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LengthConfig {
    /// A punishment that grows over the last tokens (DAPO).
    Overlong {
        /// Tokens at which it is -1.
        max_tokens: usize,
        /// Tokens before that over which it grows.
        buffer_tokens: usize,
        /// Weight of the part.
        #[serde(default = "one")]
        weight: f32,
    },
    /// Accuracy by a cosine of the length (Yeo et al. 2025).
    Cosine(CosineConfig),
}

/// The ends of the cosine length reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CosineConfig {
    /// Tokens at which a completion is long.
    pub max_tokens: usize,
    /// What a right answer of no tokens would earn.
    #[serde(default = "one")]
    pub right_short: f32,
    /// What a long right answer earns.
    #[serde(default = "CosineConfig::half")]
    pub right_long: f32,
    /// What a wrong answer of no tokens would earn.
    #[serde(default = "CosineConfig::minus_half")]
    pub wrong_short: f32,
    /// What a long wrong answer earns.
    #[serde(default)]
    pub wrong_long: f32,
}

impl CosineConfig {
    fn half() -> f32 {
        0.5
    }
    fn minus_half() -> f32 {
        -0.5
    }
}

/// A penalty for repeated phrases: `unique / all - 1`, -1 to 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepetitionConfig {
    /// Words that make a phrase.
    #[serde(default = "RepetitionConfig::six")]
    pub words: usize,
    /// Weight of the part.
    #[serde(default = "one")]
    pub weight: f32,
}

impl RepetitionConfig {
    fn six() -> usize {
        6
    }
}

fn one() -> f32 {
    1.0
}

/// How open detection pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DetectionReward {
    /// 1 when IoU exceeds the threshold, else 0.
    #[default]
    Threshold,
    /// The IoU itself.
    Soft,
}

/// When a choice with several right letters is partly right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartialCredit {
    /// A non-empty strict subset of the right letters; a wrong letter makes it 0.
    #[default]
    Subset,
    /// Any overlap with the right letters.
    Overlap,
}

/// How the rewards of a group become advantages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdvantageConfig {
    /// `(r - mean) / (std + 1e-4)`, sample standard deviation (GRPO; Curr-ReFT's).
    Grpo,
    /// `r - mean` (Dr.GRPO).
    DrGrpo,
    /// `r - mean of the others` (RLOO).
    Rloo,
    /// `(r - mean) / std` over all completions of a step (REINFORCE++).
    ReinforcePlusPlus,
    /// `r - group mean`, divided by its standard deviation over the step (REINFORCE++ with baseline).
    ReinforcePlusPlusBaseline,
    /// Each part of the reward normalised in its group, then summed (GDPO).
    Gdpo,
    /// The expected advantage over all subsets of `k` answers, of which one must be right (pass@k training).
    PassAtK {
        /// Size of the subsets, at most the group size.
        k: usize,
        /// The reward from which on an answer is right.
        right_from: f32,
    },
}

#[expect(clippy::derivable_impls, reason = "schemars and serde want the variants bare")]
impl Default for AdvantageConfig {
    fn default() -> Self {
        Self::Grpo
    }
}

/// Which parts of the model learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainableConfig {
    /// Vision tower without its merger.
    pub vision_tower: bool,
    /// The merger between tower and decoder.
    pub merger: bool,
    /// Decoder, embeddings and head.
    pub decoder: bool,
}

impl Default for TrainableConfig {
    fn default() -> Self {
        Self { vision_tower: true, merger: true, decoder: true }
    }
}

/// Who judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum JudgeConfig {
    /// Rules: accuracy, format, consistency of thinking and answer, fluency (docs of the `reject` crate).
    #[default]
    Rules,
}
