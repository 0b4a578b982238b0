//! Evaluation while a phase trains.

use reft_core::Form;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BenchmarkConfig, EvalPhase, RewardConfig, SamplingConfig, WithForm};

/// Questions that a training phase asks every so many steps. Keys that an `eval` phase has too mean the same, and those that
/// are left out are as `[eval]` says, `data` and `benchmarks` aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps from one evaluation to the next. There is one before the first step and one after the last, too.
    pub every: u64,
    /// Data sets to evaluate on, each a benchmark graded by the rewards of training.
    #[serde(default)]
    pub data: Vec<String>,
    /// Benchmarks of the field, from their published files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<BenchmarkConfig>,
    /// Forms to evaluate.
    #[serde(default = "ValidationConfig::open")]
    pub forms: Vec<WithForm>,
    /// Questions per rollout call.
    #[serde(default = "ValidationConfig::default_prompts")]
    pub prompts_per_step: usize,
    /// How completions are drawn; greedy by default.
    #[serde(default = "EvalPhase::greedy")]
    pub sampling: SamplingConfig,
    /// What counts as right.
    #[serde(default)]
    pub reward: RewardConfig,
    /// The policy that the phase ends with.
    #[serde(default)]
    pub keep: Keep,
    /// Evaluations in a row without a better score than the best one after which the phase ends early; 0: never. The score
    /// is the accuracy, its mean over data sets and benchmarks.
    #[serde(default)]
    pub patience: u64,
}

/// The policy that a phase ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// That of its last step.
    #[default]
    Last,
    /// That of the evaluation with the best score, the earliest of equals.
    Best,
}

impl ValidationConfig {
    /// The questions as those of an `eval` phase.
    pub fn as_eval(&self, name: &str) -> EvalPhase {
        EvalPhase {
            name: name.to_owned(),
            data: self.data.clone(),
            benchmarks: self.benchmarks.clone(),
            forms: self.forms.clone(),
            prompts_per_step: self.prompts_per_step,
            sampling: self.sampling.clone(),
            reward: self.reward.clone(),
            servers: None,
        }
    }

    fn open() -> Vec<WithForm> {
        vec![WithForm(Form::Open)]
    }
    fn default_prompts() -> usize {
        64
    }
}
