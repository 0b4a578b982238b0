//! How servers get the weights that a policy has learned.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How servers that answer for a policy get its weights: a folder that both see, and a request that names it
/// (docs/SERVING.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightSyncConfig {
    /// Folder for the weights of this run, which becomes a folder in it; they are removed when they are no longer needed.
    pub folder: PathBuf,
    /// The same folder as the servers see it; `folder` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_folder: Option<PathBuf>,
    /// Whose requests load weights.
    #[serde(default)]
    pub api: ServerApi,
    /// Updates that the servers' weights may be behind the policy's. 0 gives them the newest before each step; from 1 on they
    /// answer the next step's questions while this one trains.
    #[serde(default)]
    pub max_lag: u64,
}

/// Whose requests load weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerApi {
    /// vLLM and `reft serve`: adapters by `/v1/load_lora_adapter`, asked for by their name.
    #[default]
    Vllm,
    /// SGLang: adapters by `/load_lora_adapter`, asked for as `MODEL:NAME`; without `model.lora` whole models by
    /// `/update_weights_from_disk`.
    Sglang,
}
