//! A benchmark of the field: its file, who asks and who grades.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FileData, Grader, Harness, TaskName};

/// One benchmark of an `eval` phase (`[[phase.benchmarks]]`) or of a suite (`[[benchmarks]]`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkConfig {
    /// A benchmark of docs/BENCHMARKS_VLM.md by any of its names, or `generic`: rows of any kind, graded by the rewards of
    /// training.
    pub name: String,
    /// Its file as published: `.parquet`, `.tsv`, `.json`, `.jsonl` or `.arrow`; or a file of the hub,
    /// `hf://datasets/ORG/NAME@REVISION/FILE`.
    pub path: PathBuf,
    /// A name for files and tables, where two of the same kind are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Folder that image paths start at; that of the file when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// Only rows whose `split` column equals this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Take only the first rows; 0 takes all.
    #[serde(default)]
    pub limit: usize,
    /// The task of rows of `generic` that do not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
    /// Whose verdicts; the benchmark's default when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<Grader>,
    /// Whose prompt.
    #[serde(default)]
    pub prompt: Harness,
    /// Words behind every prompt: what the model was trained to be asked.
    #[serde(default)]
    pub suffix: String,
    /// Grade what stands in the answer tags, where there are tags.
    #[serde(default)]
    pub strip_tags: bool,
    /// Who is asked where a grader asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<ChatConfig>,
    /// A checkpoint on disk as the judge, in place of `judge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_checkpoint: Option<PathBuf>,
}

impl BenchmarkConfig {
    /// Its file, read with these settings.
    pub fn data(&self) -> FileData {
        FileData {
            images: self.images.clone(),
            split: self.split.clone(),
            limit: self.limit,
            task: self.task,
            ..FileData::new(&self.path)
        }
    }
}

/// A model behind `POST URL/chat/completions`, whose replies are kept on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// Base address, such as `https://api.openai.com/v1` or `http://localhost:8000/v1`.
    pub url: String,
    /// Name of the model.
    pub model: String,
    /// Name of the environment variable that holds the bearer token; nothing is sent where it is unset, and it is never
    /// written anywhere.
    #[serde(default = "ChatConfig::key")]
    pub token_env: String,
    /// Folder of replies: what was asked before is answered from there. The user's cache folder when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Requests a minute at most; 0 for any number.
    #[serde(default)]
    pub requests_per_minute: u32,
    /// Price of a million tokens of prompts and of replies, in any currency, for the report.
    #[serde(default)]
    pub price: [f64; 2],
    /// Seconds to wait for a reply, each time.
    #[serde(default = "ChatConfig::two_minutes")]
    pub timeout_s: f64,
    /// How often a prompt is asked again after no connection, no answer in time, or status 408, 429 or 5xx.
    #[serde(default = "ChatConfig::five")]
    pub retries: u32,
    /// Seconds before the first retry; the pause doubles each time.
    #[serde(default = "ChatConfig::one")]
    pub backoff_s: f64,
}

impl ChatConfig {
    /// A server with every setting at its default.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            token_env: Self::key(),
            cache: None,
            requests_per_minute: 0,
            price: [0.0; 2],
            timeout_s: Self::two_minutes(),
            retries: Self::five(),
            backoff_s: Self::one(),
        }
    }

    fn key() -> String {
        "OPENAI_API_KEY".to_owned()
    }
    fn two_minutes() -> f64 {
        120.0
    }
    fn five() -> u32 {
        5
    }
    fn one() -> f64 {
        1.0
    }
}
