//! Which model, and where it runs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LoraConfig;

/// The checkpoint to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Hugging Face folder: `config.json`, `tokenizer.json`, `preprocessor_config.json`, chat template, safetensors.
    /// A relative path is relative to the working directory. Or a model of the Hugging Face hub, `ORG/NAME` or
    /// `hf://ORG/NAME@REVISION`, which is fetched and pinned to its commit.
    pub path: PathBuf,
    /// Start from random weights instead of the folder's safetensors (which then need not exist).
    #[serde(default)]
    pub init: Option<InitConfig>,
    /// Number type of the weights in memory.
    #[serde(default)]
    pub dtype: Dtype,
    /// Where to compute.
    #[serde(default)]
    pub device: Device,
    /// Overrides the processor's smallest image area, in pixels; SmolVLM2 has none.
    #[serde(default)]
    pub min_pixels: Option<u64>,
    /// Overrides the processor's largest image area, in pixels (Curr-ReFT trains with 401,408). Of SmolVLM2 and InternVL, the
    /// area that the tiles of an image cover together.
    #[serde(default)]
    pub max_pixels: Option<u64>,
    /// Image features are kept in up to this many MiB, so that a vision tower that does not learn sees each image once and
    /// not at every step. 0 keeps none. The results are the same to the last bit.
    #[serde(default = "ModelConfig::default_feature_memory")]
    pub feature_memory_mib: u64,
    /// Keys and values of a rollout are held in about this many MiB: less answers fewer groups at a time, and a group that
    /// is larger is answered alone. What is drawn does not depend on it. Not given: 65,536 tokens, 2.4 GB for a 3B model
    /// in bf16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_memory_mib: Option<u64>,
    /// Train low-rank adapters instead of the weights.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
}

impl ModelConfig {
    /// A folder with every setting at its default.
    pub fn of_folder(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            init: None,
            dtype: Dtype::default(),
            device: Device::default(),
            min_pixels: None,
            max_pixels: None,
            feature_memory_mib: Self::default_feature_memory(),
            kv_memory_mib: None,
            lora: None,
        }
    }

    /// MiB for 65 images of a thousand tokens of a 3B model in bf16; all images that most small models see.
    pub(crate) fn default_feature_memory() -> u64 {
        256
    }
}

/// Random initial weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// Seed of the weights.
    pub seed: u64,
}

/// Number type of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    Fp16,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The first CUDA GPU when there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA GPU; an error when there is none.
    Cuda,
}
