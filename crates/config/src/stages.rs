//! The settings of the stages that phases are made of.

use reft_core::{Form, SamplingParams, Seed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The schema of [`reft_core::CutAnswers`].
pub(crate) fn cut_answers(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "enum": ["learn", "mask", "leave_out"]})
}

/// How completions are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Completions per prompt (G). Curr-ReFT: 4. With 2, normalised advantages are always 0 or +-0.707.
    pub group_size: usize,
    /// Softmax temperature; 0 is greedy and truncates nothing.
    pub temperature: f32,
    /// Nucleus mass; 1 keeps all tokens.
    pub top_p: f32,
    /// Most likely tokens to keep; 0 keeps all.
    pub top_k: usize,
    /// Keep the tokens whose probability is at least this share of the most likely one's (min-p, arXiv 2407.01082); 0
    /// keeps all.
    pub min_p: f32,
    /// Divides positive logits of tokens that prompt or completion hold, multiplies negative ones (arXiv 1909.05858, as
    /// transformers and vLLM); 1 changes nothing. Not in `grpo` phases.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the completion holds (as OpenAI and vLLM); 0 changes nothing. Not in `grpo`
    /// phases.
    pub presence_penalty: f32,
    /// The same, as often as the completion holds the token. Not in `grpo` phases.
    pub frequency_penalty: f32,
    /// Longest completion in tokens. Curr-ReFT: 256.
    pub max_new_tokens: usize,
    /// Shortest completion in tokens: before, end tokens are not drawn and stop strings do not count.
    pub min_new_tokens: usize,
    /// A completion ends when its text holds one of these strings, which stays in the text.
    pub stop: Vec<String>,
    /// Strings that are one token each, which is never drawn.
    pub banned: Vec<String>,
    /// Ids of tokens that are never drawn.
    pub banned_ids: Vec<u32>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            group_size: 4,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            max_new_tokens: 256,
            min_new_tokens: 0,
            stop: Vec::new(),
            banned: Vec::new(),
            banned_ids: Vec::new(),
        }
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
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            stop: self.stop.clone(),
            banned: self.banned.clone(),
            banned_ids: self.banned_ids.clone(),
            seed,
        }
    }
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
    /// `(r - mean) / mean`: follows the logarithm of the pass rate (MaxRL).
    MaxRl,
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
