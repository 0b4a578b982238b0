//! The phases of a run.

use std::path::PathBuf;

use reft_core::{CutAnswers, Form};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AdvantageConfig, BenchmarkConfig, ClipRange, CorrectionConfig, CurriculumConfig, FilterConfig,
    FleetConfig, GradientConfig, GuardConfig, JudgeConfig, KlConfig, LossConfig, LossScale, OptimizerConfig,
    PreflightConfig, ReferenceConfig, RewardConfig, SamplingConfig, TrainableConfig, ValidationConfig,
    WeightSyncConfig, WithForm,
};

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "a recipe has a handful of phases")]
pub enum PhaseConfig {
    /// Supervised fine-tuning.
    Sft(SftPhase),
    /// Reinforcement learning with GRPO.
    Grpo(GrpoPhase),
    /// Rejection sampling: makes the data set of a later `sft` phase.
    Reject(RejectPhase),
    /// Benchmarks.
    Eval(EvalPhase),
}

impl PhaseConfig {
    /// The phase's name, unique in the recipe.
    pub fn name(&self) -> &str {
        match self {
            Self::Sft(phase) => &phase.name,
            Self::Grpo(phase) => &phase.name,
            Self::Reject(phase) => &phase.name,
            Self::Eval(phase) => &phase.name,
        }
    }

    /// Its steps; none where they depend on data that are not read yet.
    pub fn steps(&self) -> Option<u64> {
        let steps = match self {
            Self::Grpo(phase) => phase.steps,
            Self::Sft(phase) => phase.steps,
            Self::Reject(_) | Self::Eval(_) => 0,
        };
        (steps > 0).then_some(steps)
    }

    /// The phase's kind as it is written in the recipe.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sft(_) => "sft",
            Self::Grpo(_) => "grpo",
            Self::Reject(_) => "reject",
            Self::Eval(_) => "eval",
        }
    }

    /// The file of difficulties that the phase's curriculum reads, `curriculum.difficulty`.
    pub fn difficulty_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Grpo(GrpoPhase { curriculum: CurriculumConfig::AdaRft(config), .. }) => {
                config.difficulty.as_ref()
            }
            Self::Grpo(_) | Self::Sft(_) | Self::Reject(_) | Self::Eval(_) => None,
        }
    }
}

/// Reinforcement learning with GRPO (Shao et al., 2024) on one or more forms of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpoPhase {
    /// Unique name; `phase` in the metrics.
    pub name: String,
    /// Data set to train on.
    pub data: String,
    /// Forms to turn the open samples into.
    #[serde(default = "GrpoPhase::open")]
    pub forms: Vec<WithForm>,
    /// Optimizer steps; 0 where `epochs` says how many.
    #[serde(default)]
    pub steps: u64,
    /// Passes over the questions, in place of `steps`; the last step of the last pass may begin another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Prompts per step. Curr-ReFT: 8.
    #[serde(default = "GrpoPhase::default_prompts")]
    pub prompts_per_step: usize,
    /// Peak learning rate. Curr-ReFT: 1e-6.
    #[serde(default = "GrpoPhase::default_lr")]
    pub lr: f64,
    /// Weight of the KL penalty towards the reference; the largest one of a schedule. Curr-ReFT: 0.04. 0 needs no
    /// reference.
    #[serde(default = "GrpoPhase::default_kl")]
    pub kl_coef: f64,
    /// How the KL penalty is estimated and where it acts.
    #[serde(default)]
    pub kl: KlConfig,
    /// The policy that the KL penalty is measured against.
    #[serde(default)]
    pub reference: ReferenceConfig,
    /// The policy loss.
    #[serde(default)]
    pub loss: LossConfig,
    /// Lower clip of the probability ratio: `1 - clip_low` (PPO: 0.2); the loss's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_low: Option<f64>,
    /// Upper clip of the probability ratio: `1 + clip_high` (PPO: 0.2; DAPO: 0.28); the loss's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_high: Option<f64>,
    /// Largest ratio that counts where the advantage is negative (dual clip, arXiv 1912.09729, there 3); left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dual_clip: Option<f64>,
    /// How token losses are averaged; as the loss's paper when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LossScale")]
    pub loss_scale: Option<LossScale>,
    /// Importance weights for answers of another engine; left out: none, or the defaults where `servers` answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<CorrectionConfig>,
    /// Weight of the mean entropy per token, which is added to what is maximised; 0 adds nothing.
    #[serde(default)]
    pub entropy_coef: f64,
    /// Optimizer updates per batch of rollouts. 1: strictly on-policy, the ratio is 1.
    #[serde(default = "GrpoPhase::one")]
    pub updates_per_batch: usize,
    /// Tokens (prompts once, completions each) per forward and backward pass; gradients are summed, so the result does
    /// not depend on it beyond rounding. 0: all at once.
    #[serde(default)]
    pub micro_batch_tokens: usize,
    /// Keep only the inputs of layers and run each layer again in the backward pass: less memory, a third more work.
    #[serde(default)]
    pub recompute: bool,
    /// Compute log-probs in training by the rollout's own steps, so that the first update of a batch sees its numbers to
    /// the last bit. CPU and fp32 only; slow, and takes memory: for proofs and for finding faults.
    #[serde(default)]
    pub exact: bool,
    /// Skipped updates in a row (loss or gradient not finite) after which the run stops; 1 stops at the first.
    #[serde(default = "GrpoPhase::default_skips")]
    pub max_skipped: u64,
    /// What answers count for that `max_new_tokens` has cut.
    #[serde(default)]
    #[schemars(schema_with = "crate::stages::cut_answers")]
    pub cut_answers: CutAnswers,
    /// How completions are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Servers that answer in place of the policy; `weight_sync` says how they get its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<FleetConfig>,
    /// How the servers get the weights that the policy has learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_sync: Option<WeightSyncConfig>,
    /// What is paid.
    #[serde(default)]
    pub reward: RewardConfig,
    /// How rewards of a group become advantages.
    #[serde(default)]
    pub advantage: AdvantageConfig,
    /// Which groups are trained on.
    #[serde(default)]
    pub filter: FilterConfig,
    /// Which samples come next.
    #[serde(default)]
    pub curriculum: CurriculumConfig,
    /// What is checked before the first step.
    #[serde(default)]
    pub preflight: PreflightConfig,
    /// When the phase stops because it learns nothing.
    #[serde(default)]
    pub guard: GuardConfig,
    /// What changes gradients before the update; left out: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient: Option<GradientConfig>,
    /// AdamW, schedule, gradient clipping.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Which parts of the model learn.
    #[serde(default)]
    pub trainable: TrainableConfig,
    /// Evaluation while the phase trains; left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
}

/// Steps of so many samples each in which `epochs` passes over `samples` are done.
fn in_steps(epochs: f64, samples: usize, per_step: usize) -> u64 {
    (epochs * samples as f64 / per_step.max(1) as f64).ceil() as u64
}

impl GrpoPhase {
    /// The phase with its length in steps, over so many questions.
    #[must_use]
    pub fn in_steps(&self, questions: usize) -> Self {
        let steps = self.epochs.map_or(self.steps, |n| in_steps(n, questions, self.prompts_per_step));
        Self { steps, ..self.clone() }
    }

    /// What makes up for answers of another engine: the phase's, else the defaults where servers answer.
    pub fn correction(&self) -> Option<CorrectionConfig> {
        self.correction.or_else(|| self.servers.as_ref().map(|_| CorrectionConfig::default()))
    }

    /// The clip range: the phase's, else that of the loss's paper; none where the loss does not clip.
    pub fn clip_range(&self) -> Option<ClipRange> {
        self.loss.clip_range().map(|paper| ClipRange {
            low: self.clip_low.unwrap_or(paper.low),
            high: self.clip_high.unwrap_or(paper.high),
        })
    }

    /// How token losses are averaged: as the phase says, else as the loss's paper.
    pub fn scale(&self) -> LossScale {
        self.loss_scale.unwrap_or_else(|| self.loss.scale())
    }

    /// Whether a KL penalty is computed at all.
    pub fn has_kl(&self) -> bool {
        self.kl_coef > 0.0 && self.reference != ReferenceConfig::None
    }

    fn open() -> Vec<WithForm> {
        vec![WithForm(Form::Open)]
    }
    fn default_prompts() -> usize {
        8
    }
    fn default_lr() -> f64 {
        1e-6
    }
    fn default_kl() -> f64 {
        0.04
    }
    fn default_skips() -> u64 {
        3
    }
    fn one() -> usize {
        1
    }
}

/// Supervised fine-tuning on demonstrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftPhase {
    /// Unique name; `phase` in the metrics.
    pub name: String,
    /// Data sets to train on, or names of earlier `reject` phases.
    /// File data needs chat `messages` that end in an assistant turn; scenes bring demonstrations of their own.
    pub data: Vec<String>,
    /// Forms of the demonstrations that scenes bring.
    #[serde(default = "GrpoPhase::open")]
    pub forms: Vec<WithForm>,
    /// Optimizer steps; 0 where `epochs` says how many. Curr-ReFT: 2,000.
    #[serde(default)]
    pub steps: u64,
    /// Passes over the demonstrations, in place of `steps`; the last step of the last pass may begin another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Demonstrations per step. Curr-ReFT: 32.
    #[serde(default = "SftPhase::default_batch")]
    pub batch_size: usize,
    /// Peak learning rate. Curr-ReFT: 2e-7.
    #[serde(default = "SftPhase::default_lr")]
    pub lr: f64,
    /// Tokens per forward and backward pass; 0: all at once.
    #[serde(default)]
    pub micro_batch_tokens: usize,
    /// Keep only the inputs of layers and run each layer again in the backward pass: less memory, a third more work.
    #[serde(default)]
    pub recompute: bool,
    /// What changes gradients before the update; left out: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient: Option<GradientConfig>,
    /// AdamW, schedule, gradient clipping.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Which parts of the model learn.
    #[serde(default)]
    pub trainable: TrainableConfig,
    /// Evaluation while the phase trains; left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
}

impl SftPhase {
    /// The phase with its length in steps, over so many demonstrations.
    #[must_use]
    pub fn in_steps(&self, demonstrations: usize) -> Self {
        let steps = self.epochs.map_or(self.steps, |n| in_steps(n, demonstrations, self.batch_size));
        Self { steps, ..self.clone() }
    }

    fn default_batch() -> usize {
        32
    }
    fn default_lr() -> f64 {
        2e-7
    }
}

/// Rejection sampling: N answers per question, judged, the best above the threshold kept (method section 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectPhase {
    /// Unique name; later `sft` phases use it as a data set.
    pub name: String,
    /// Data set to sample from.
    pub data: String,
    /// Forms to turn the open samples into.
    #[serde(default = "GrpoPhase::open")]
    pub forms: Vec<WithForm>,
    /// Questions per rollout call; also what a resume repeats at most.
    #[serde(default = "RejectPhase::default_prompts")]
    pub prompts_per_step: usize,
    /// Questions to ask; 0 asks all.
    #[serde(default)]
    pub limit: usize,
    /// Judge score a completion must reach, 0 to 100. Curr-ReFT: 85.
    #[serde(default = "RejectPhase::default_threshold")]
    pub threshold: f32,
    /// Completions to keep per question, best first, duplicates left out.
    #[serde(default = "GrpoPhase::one")]
    pub keep: usize,
    /// How completions are drawn; `group_size` is N.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Who judges.
    #[serde(default)]
    pub judge: JudgeConfig,
    /// Servers that answer in place of the policy of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<FleetConfig>,
    /// What the rule judge counts as right.
    #[serde(default)]
    pub reward: RewardConfig,
}

impl RejectPhase {
    fn default_prompts() -> usize {
        32
    }
    fn default_threshold() -> f32 {
        85.0
    }
}

/// Benchmarks on the policy as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalPhase {
    /// Unique name; a row in the final table.
    pub name: String,
    /// Data sets to evaluate on, each a benchmark graded by the rewards of training.
    #[serde(default)]
    pub data: Vec<String>,
    /// Benchmarks of the field, from their published files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<BenchmarkConfig>,
    /// Forms to evaluate.
    #[serde(default = "GrpoPhase::open")]
    pub forms: Vec<WithForm>,
    /// Questions per rollout call.
    #[serde(default = "EvalPhase::default_prompts")]
    pub prompts_per_step: usize,
    /// How completions are drawn; the default is greedy, also for what a table in the recipe leaves out.
    /// With `group_size` above 1, pass@G is reported too.
    #[serde(default = "EvalPhase::greedy")]
    pub sampling: SamplingConfig,
    /// What counts as right; a detection answer counts when IoU exceeds the threshold.
    #[serde(default)]
    pub reward: RewardConfig,
    /// Servers that answer in place of the policy of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<FleetConfig>,
}

impl PhaseConfig {
    /// How the phase moves weights; none where it does not.
    pub fn optimizer(&self) -> Option<&OptimizerConfig> {
        match self {
            Self::Grpo(phase) => Some(&phase.optimizer),
            Self::Sft(phase) => Some(&phase.optimizer),
            Self::Reject(_) | Self::Eval(_) => None,
        }
    }

    /// What changes the phase's gradients.
    pub fn gradient(&self) -> Option<&GradientConfig> {
        match self {
            Self::Grpo(phase) => phase.gradient.as_ref(),
            Self::Sft(phase) => phase.gradient.as_ref(),
            Self::Reject(_) | Self::Eval(_) => None,
        }
    }

    /// Benchmarks of the field that the phase asks, those of its validation too.
    pub fn benchmarks(&self) -> &[BenchmarkConfig] {
        match self {
            Self::Eval(phase) => &phase.benchmarks,
            phase => phase.validation().map_or(&[], |validation| &validation.benchmarks),
        }
    }

    /// What the phase evaluates while it trains.
    pub fn validation(&self) -> Option<&ValidationConfig> {
        match self {
            Self::Grpo(phase) => phase.validation.as_ref(),
            Self::Sft(phase) => phase.validation.as_ref(),
            Self::Reject(_) | Self::Eval(_) => None,
        }
    }
}

impl EvalPhase {
    fn default_prompts() -> usize {
        64
    }
    pub(crate) fn greedy() -> SamplingConfig {
        SamplingConfig { group_size: 1, temperature: 0.0, ..SamplingConfig::default() }
    }
}
