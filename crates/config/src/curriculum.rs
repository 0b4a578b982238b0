//! Which samples come next.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::WithForm;

/// Which samples come next. `docs/CURRICULA.md` compares them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CurriculumConfig {
    /// A seeded shuffle, epoch after epoch, tasks balanced within each batch.
    #[default]
    Shuffle,
    /// Forms one after another within the phase (Curr-ReFT, arXiv 2503.07065), reversed, or mixed.
    Staged(StagedConfig),
    /// A bandit over categories that follows the learning signal (SEC, arXiv 2505.14970).
    Sec(SecConfig),
    /// Easy, normal and hard samples by their pass rate so far, in given shares.
    Pools(PoolsConfig),
    /// Samples nearest to a target difficulty that follows the reward (AdaRFT, arXiv 2504.05520).
    #[serde(rename = "adarft")]
    AdaRft(AdaRftConfig),
    /// A shuffle with longer answers and smaller groups from stage to stage (PTST of Vision-R1, arXiv 2503.06749).
    Ptst(PtstConfig),
}

/// Stages by form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StagedConfig {
    /// The arm of the paper's ablation.
    #[serde(default)]
    pub order: StageOrder,
    /// The stages, easiest first; whichever comes last lasts until the phase ends.
    pub stages: Vec<StageConfig>,
}

/// The arms of the paper's ablation. Each keeps the stages' own lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageOrder {
    /// As listed.
    #[default]
    Forward,
    /// The last one first.
    Reverse,
    /// All at once, each with a share of every batch in proportion to its `steps`.
    Mixed,
}

/// One stage of a staged curriculum. Its length is exactly one of `steps`, `epochs` and `plateau`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Forms to draw from.
    pub forms: Vec<WithForm>,
    /// Steps of this stage.
    #[serde(default)]
    pub steps: Option<u64>,
    /// Passes over the stage's samples; the step that completes them is its last.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Until accuracy no longer rises.
    #[serde(default)]
    pub plateau: Option<PlateauConfig>,
}

/// When accuracy counts as no longer rising: its mean over the last `window` steps has not exceeded the best such mean
/// by `min_delta` for `patience` steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlateauConfig {
    /// Steps at most.
    pub max_steps: u64,
    /// Steps to average over.
    #[serde(default = "PlateauConfig::default_window")]
    pub window: usize,
    /// Steps without a rise.
    #[serde(default = "PlateauConfig::default_patience")]
    pub patience: u64,
    /// Smallest rise that counts, 0 or above.
    #[serde(default = "PlateauConfig::default_min_delta")]
    pub min_delta: f64,
}

impl PlateauConfig {
    fn default_window() -> usize {
        10
    }
    fn default_patience() -> u64 {
        20
    }
    fn default_min_delta() -> f64 {
        0.01
    }
}

/// SEC: `Q(c) <- alpha * r(c) + (1 - alpha) * Q(c)` with `r(c)` the mean absolute advantage of category `c` in a step;
/// `p(c)` is proportional to `exp(Q(c) / temperature)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecConfig {
    /// What makes a category.
    pub arms: ArmKey,
    /// Weight of the newest step, above 0 and at most 1. The paper: 0.5.
    pub alpha: f64,
    /// Temperature of the choice, above 0; the lower, the greedier. The paper: 1, 0.4 or 0.2 by task.
    pub temperature: f64,
}

impl Default for SecConfig {
    fn default() -> Self {
        Self { arms: ArmKey::FormTask, alpha: 0.5, temperature: 0.4 }
    }
}

/// What makes a category of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArmKey {
    /// The form.
    Form,
    /// The task.
    Task,
    /// Form and task.
    #[default]
    FormTask,
}

/// Difficulty pools. A sample's pass rate is a moving average over its groups; one never asked is normal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolsConfig {
    /// Pass rate at or above which a sample is easy, 0 to 1.
    pub easy: f64,
    /// Pass rate at or below which a sample is hard, 0 to 1, below `easy`.
    pub hard: f64,
    /// Share of draws from the easy pool, 0 to 1: keeps watch over what may be forgotten.
    pub easy_share: f64,
    /// Share of draws from the hard pool, 0 to 1: finds what has come into reach.
    pub hard_share: f64,
    /// Weight of the newest group in a sample's pass rate, above 0 and at most 1.
    pub alpha: f64,
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self { easy: 0.9, hard: 0.1, easy_share: 0.1, hard_share: 0.1, alpha: 0.5 }
    }
}

/// AdaRFT: `T <- clip(T + eta * tanh(alpha * (R - beta)), 0, 100)` with `R` the step's mean accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaRftConfig {
    /// JSON lines with `id` and either `difficulty` (0 to 100) or `pass_rate` (0 to 1) of every sample, or of the open
    /// sample it was made from. Without it the form is the difficulty: binary 0, choice 50, open 100.
    pub difficulty: Option<PathBuf>,
    /// Target at the start, 0 to 100.
    pub start: f64,
    /// Accuracy at which the target stays, 0 to 1. The paper: 0.5.
    pub beta: f64,
    /// How sharply the target reacts, above 0. The paper: 2.
    pub alpha: f64,
    /// Largest change of the target in a step, above 0. The paper: 50.
    pub eta: f64,
    /// Difficulties that differ by less than this count as equal, so that not the same samples come at every step, 0 or
    /// above. The paper: 0.
    pub spread: f64,
}

impl Default for AdaRftConfig {
    fn default() -> Self {
        Self { difficulty: None, start: 0.0, beta: 0.5, alpha: 2.0, eta: 50.0, spread: 5.0 }
    }
}

/// Stages by length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PtstConfig {
    /// The stages in order; the last one lasts until the phase ends.
    pub stages: Vec<LengthStageConfig>,
}

/// One stage of PTST. Vision-R1: 4,096 tokens and groups of 16 for 100 steps, then 8,192 and 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthStageConfig {
    /// Steps of this stage.
    pub steps: u64,
    /// Longest completion in tokens, instead of the phase's.
    pub max_new_tokens: usize,
    /// Completions per prompt, instead of the phase's.
    #[serde(default)]
    pub group_size: Option<usize>,
}
