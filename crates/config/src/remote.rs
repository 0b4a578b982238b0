//! Who scores and judges outside of the process.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A program that scores completions: JSON lines over a pipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramRewardConfig {
    /// The program and its arguments, without a shell.
    pub command: Vec<String>,
    /// Weight of the part.
    #[serde(default = "one")]
    pub weight: f32,
    /// Processes at most; each scores one completion at a time.
    #[serde(default = "ProgramRewardConfig::one_process")]
    pub processes: usize,
    /// Seconds to wait for a score, the program's start included; one that takes longer is killed.
    #[serde(default = "ten")]
    pub timeout_s: f64,
    /// How often a completion is scored again after the program crashed.
    #[serde(default = "ProgramRewardConfig::one_retry")]
    pub retries: u32,
    /// Least and largest score; any other fails.
    #[serde(default = "unit")]
    pub range: [f32; 2],
}

impl ProgramRewardConfig {
    fn one_process() -> usize {
        1
    }
    fn one_retry() -> u32 {
        1
    }
}

/// A server that scores completions: JSON by POST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerRewardConfig {
    /// Where, such as `http://localhost:8000/score`.
    pub url: String,
    /// Weight of the part.
    #[serde(default = "one")]
    pub weight: f32,
    /// Completions that are scored at once.
    #[serde(default = "ServerRewardConfig::eight")]
    pub connections: usize,
    /// Seconds to wait for a score, each time.
    #[serde(default = "ten")]
    pub timeout_s: f64,
    /// How often a completion is scored again after no connection, no answer in time, or status 408, 429 or 5xx.
    #[serde(default = "two")]
    pub retries: u32,
    /// Seconds before the first retry; the pause doubles each time.
    #[serde(default = "half")]
    pub backoff_s: f64,
    /// Least and largest score; any other fails.
    #[serde(default = "unit")]
    pub range: [f32; 2],
    /// Name of the environment variable that holds the bearer token; it is never written to the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
}

impl ServerRewardConfig {
    fn eight() -> usize {
        8
    }
}

/// Who judges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum JudgeConfig {
    /// Rules: accuracy, format, consistency of thinking and answer, fluency (docs of the `reject` crate).
    #[default]
    Rules,
    /// A model behind an OpenAI-compatible server.
    Server(ServerJudgeConfig),
}

/// A model that judges, behind `POST URL/chat/completions` (docs/REWARDS.md has the prompt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerJudgeConfig {
    /// Base address, such as `https://api.openai.com/v1` or `http://localhost:8000/v1`.
    pub url: String,
    /// Name of the model.
    pub model: String,
    /// Whether the question's images are sent too, as data URLs.
    #[serde(default = "ServerJudgeConfig::yes")]
    pub images: bool,
    /// Instructions in place of the built-in ones. They must ask for a JSON object with `score` (0 to 100) and `reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Seconds to wait for a judgement, each time.
    #[serde(default = "ServerJudgeConfig::sixty")]
    pub timeout_s: f64,
    /// How often an answer is judged again after no connection, no answer in time, or status 408, 429 or 5xx.
    #[serde(default = "ServerJudgeConfig::five")]
    pub retries: u32,
    /// Seconds before the first retry; the pause doubles each time.
    #[serde(default = "half")]
    pub backoff_s: f64,
    /// Name of the environment variable that holds the bearer token; it is never written to the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// Folder of replies: an answer that was judged before, in the same words, is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// Requests a minute at most; 0 for any number.
    #[serde(default)]
    pub requests_per_minute: u32,
}

impl ServerJudgeConfig {
    fn yes() -> bool {
        true
    }
    fn sixty() -> f64 {
        60.0
    }
    fn five() -> u32 {
        5
    }
}

fn one() -> f32 {
    1.0
}

fn two() -> u32 {
    2
}

fn half() -> f64 {
    0.5
}

fn ten() -> f64 {
    10.0
}

fn unit() -> [f32; 2] {
    [0.0, 1.0]
}
