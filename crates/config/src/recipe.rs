//! The whole recipe.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, DataConfig, ModelConfig, PhaseConfig, PromptConfig};

/// A recipe after merging: what `config.toml` in the run directory holds, and all that is needed to repeat the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name, seed, threads, checkpoints.
    #[serde(default)]
    pub run: RunConfig,
    /// The checkpoint to start from.
    pub model: ModelConfig,
    /// Prompt templates, the same in training and evaluation.
    #[serde(default)]
    pub prompt: PromptConfig,
    /// Data sets by name; phases refer to them.
    #[serde(default)]
    pub data: BTreeMap<String, DataConfig>,
    /// The phases, run in order.
    pub phase: Vec<PhaseConfig>,
}

impl Recipe {
    /// The recipe as TOML with every default written out. Reading it again gives the same recipe.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(self)?)
    }

    /// The recipe with nothing said but what must be: names, paths, data sets, lengths. What differs from it is what the
    /// recipe sets. None where a part cannot be without more.
    pub fn bare(&self) -> Option<Self> {
        fn only(value: &toml::Value, keys: &[&str]) -> toml::Value {
            let entries = value.as_table().into_iter().flatten();
            let kept = entries.filter(|(key, _)| keys.contains(&key.as_str()));
            toml::Value::Table(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        let mut table = toml::Table::try_from(self).ok()?;
        for (name, part) in &mut table {
            match (name.as_str(), part) {
                ("run", part) => *part = only(part, &["name"]),
                ("model", part) => *part = only(part, &["path"]),
                ("prompt", part) => *part = only(part, &[]),
                ("data", toml::Value::Table(sets)) => {
                    for (_, set) in sets.iter_mut() {
                        *set = only(set, &["type", "path", "glyphs", "split", "count", "sources"]);
                    }
                }
                ("phase", toml::Value::Array(phases)) => {
                    for phase in phases {
                        *phase = only(phase, &["kind", "name", "data", "steps", "epochs"]);
                    }
                }
                _ => {}
            }
        }
        table.try_into().ok()
    }

    /// The JSON schema of recipe files, for editors.
    pub fn json_schema_of_files() -> serde_json::Value {
        crate::schema::published()
    }

    /// Every key with its type, default and meaning as Markdown: `docs/RECIPE.md`.
    pub fn reference() -> String {
        crate::reference::page()
    }
}

/// What belongs to the run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Folder name under `--runs`. Letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// CPU threads; 0 takes all cores. Results are bit-identical only for an equal number.
    pub threads: usize,
    /// Steps between checkpoints; a checkpoint is also written at the end of every phase. 0: only there.
    pub checkpoint_every: u64,
    /// Newest checkpoints to keep. At least 1.
    pub keep_checkpoints: usize,
    /// Keep the model as it is at the end of each training phase, in `phases/NAME` of the run directory.
    pub keep_phases: bool,
    /// Look at all data sets before the first phase: prompt lengths, duplicates, test questions that are trained on. Reads
    /// every image file once.
    pub data_report: bool,
    /// What several ranks divide among them.
    pub shard: Shard,
    /// Files for other tools beside `metrics.jsonl`.
    pub trackers: Vec<Tracker>,
}

/// A tool that shows numbers of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tracker {
    /// An event file in the run directory, for `tensorboard --logdir runs`.
    Tensorboard,
    /// The local store of trackio, for `trackio show`: `TRACKIO_DIR`, else `~/.cache/huggingface/trackio`; project
    /// `TRACKIO_PROJECT`, else `curr-reft`.
    Trackio,
    /// `metrics.csv` in the run directory, one row a step.
    Csv,
}

impl fmt::Display for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tensorboard => "tensorboard",
            Self::Trackio => "trackio",
            Self::Csv => "csv",
        })
    }
}

/// What the ranks of a run divide among them; one rank has everything whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shard {
    /// Nothing: every rank keeps weights, gradients and the optimizer's state.
    #[default]
    None,
    /// The optimizer's state, moments and master weights: each of N ranks keeps an Nth and updates an Nth of the weights
    /// (ZeRO stage 1).
    Optimizer,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            name: "run".into(),
            seed: 0,
            threads: 0,
            checkpoint_every: 50,
            keep_checkpoints: 2,
            keep_phases: false,
            data_report: true,
            shard: Shard::None,
            trackers: Vec::new(),
        }
    }
}
