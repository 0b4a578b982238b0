//! What changes gradients between accumulation and norm: `[phase.gradient]`.

use std::path::PathBuf;

use reft_core::Sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transform of the gradients of every update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum GradientConfig {
    /// Adds the way from a base model to one that reasons (DRIFT, arXiv 2510.15050).
    Drift(DriftConfig),
    /// Turns gradients of tasks or forms aside where they point against each other (PCGrad, arXiv 2001.06782).
    #[serde(rename = "pcgrad")]
    PcGrad(PcGradConfig),
    /// Moves only the weights that matter in a low-rank approximation (LIFT, arXiv 2506.00772).
    Lift(LiftConfig),
}

/// The direction of DRIFT, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// Checkpoint of a language model that reasons; its layers have the shapes of the policy's decoder.
    pub reason: PathBuf,
    /// Checkpoint of the model that it was made from, or whose decoder the policy has.
    pub base: PathBuf,
    /// Factor of the direction. Paper: -1, with which a descent goes that way.
    #[serde(default = "DriftConfig::default_alpha")]
    pub alpha: f64,
    /// What else it is multiplied with.
    #[serde(default)]
    pub scale: DriftScale,
}

impl DriftConfig {
    fn default_alpha() -> f64 {
        -1.0
    }
}

/// What the direction `D` of a parameter becomes beside its gradient `g`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftScale {
    /// `D`.
    #[default]
    Plain,
    /// `|g| D / |D|`.
    Norm,
    /// `|g| D / |D|`, times `(1 + cos(g, D)) / 2`.
    Aligned,
}

/// Between which parts of a batch PCGrad works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PcGradConfig {
    /// What tells the parts apart.
    pub between: Between,
}

/// What tells the parts of a batch apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    /// What is asked.
    #[default]
    Task,
    /// How it is asked.
    Form,
}

impl Between {
    /// The part that a question belongs to.
    pub fn part_of(self, sample: &Sample) -> String {
        match self {
            Self::Task => sample.task.to_string(),
            Self::Form => sample.form.to_string(),
        }
    }
}

/// Which weights LIFT moves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LiftConfig {
    /// Share of the weights of each matrix of the decoder's layers.
    pub share: f64,
    /// Rank of the approximation.
    pub rank: usize,
    /// Updates between two choices; 0 chooses once.
    pub every: u64,
}

impl Default for LiftConfig {
    fn default() -> Self {
        Self { share: 0.05, rank: 128, every: 200 }
    }
}
