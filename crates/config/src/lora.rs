//! Low-rank adapters.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Low-rank adapters (LoRA, arXiv 2106.09685) learn instead of the weights, which never change.
/// `trainable` of a phase says in which parts of the model they learn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// An adapter folder, as PEFT writes it, to continue. It brings its own rank, alpha and layers.
    pub adapter: Option<PathBuf>,
    /// Rank of the updates; 16 when left out.
    pub rank: Option<u32>,
    /// The updates are scaled by `alpha / rank`; 32 when left out.
    pub alpha: Option<f64>,
    /// Probability that an input of an adapter is left out in training, never in rollouts and in the KL reference. 0, or
    /// the continued adapter's, when left out.
    pub dropout: Option<f64>,
    /// Layers that get an adapter, as PEFT's `target_modules`: a regular expression for whole names
    /// (`model.language_model.layers.0.self_attn.q_proj`, `model.visual.blocks.0.attn.qkv`), `"all-linear"`, or a list of
    /// endings (`["q_proj", "v_proj"]`). All linear layers of the decoder when left out.
    pub targets: Option<LoraLayers>,
    /// Layers that get none although `targets` names them; written as `targets`.
    pub exclude: Option<LoraLayers>,
    /// Seed of new adapters and of the dropout; the run's when left out.
    pub seed: Option<u64>,
    /// Also write the whole checkpoint with the adapter merged into its weights, as `merged` in the final folder.
    pub merge: bool,
}

/// Layers by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LoraLayers {
    /// A regular expression that the whole name must match.
    Pattern(String),
    /// Names or their endings.
    Endings(Vec<String>),
}

impl LoraConfig {
    /// Continues the adapter in a folder.
    pub fn of_folder(adapter: PathBuf) -> Self {
        Self { adapter: Some(adapter), ..Self::default() }
    }
}
