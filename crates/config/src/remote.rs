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

/// Servers that answer in place of the model of this process, behind `POST URL/chat/completions` (docs/SERVING.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FleetConfig {
    /// Base addresses, such as `["http://localhost:8000/v1"]`: the least busy is asked, one that fails is left alone for a
    /// while.
    pub url: Vec<String>,
    /// Name of the model there.
    pub model: String,
    /// Questions that are asked at once, of all servers together.
    #[serde(default = "FleetConfig::sixteen")]
    pub connections: usize,
    /// Seconds to wait for the answers to a question, each time.
    #[serde(default = "FleetConfig::ten_minutes")]
    pub timeout_s: f64,
    /// How often a question is asked again, of each server, after no connection, no answer in time, or status 408, 429 or
    /// 5xx.
    #[serde(default = "two")]
    pub retries: u32,
    /// Seconds for which a server that has failed is left alone; they double each time, up to a minute.
    #[serde(default = "FleetConfig::one_second")]
    pub backoff_s: f64,
    /// Name of the environment variable that holds the bearer token; it is never written to the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// Whether the servers know what vLLM, SGLang and `reft serve` have beyond OpenAI's API: token ids, `top_k`, `min_p`,
    /// `repetition_penalty`, `min_tokens`.
    #[serde(default = "FleetConfig::yes")]
    pub extensions: bool,
}

impl FleetConfig {
    /// Servers with the defaults of a recipe.
    pub fn new(url: Vec<String>, model: impl Into<String>) -> Self {
        Self {
            url,
            model: model.into(),
            connections: Self::sixteen(),
            timeout_s: Self::ten_minutes(),
            retries: two(),
            backoff_s: Self::one_second(),
            token_env: None,
            extensions: true,
        }
    }

    fn sixteen() -> usize {
        16
    }
    fn ten_minutes() -> f64 {
        600.0
    }
    fn one_second() -> f64 {
        1.0
    }
    fn yes() -> bool {
        true
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
