//! Rewards that a user's own program or server computes.
//!
//! Question, one JSON object:
//!
//! ```json
//! {"sample": {"id": "q1", "task": "math", "form": "open", "problem": "...", "solution": "12", "images": ["a.png"]},
//!  "completion": {"text": "...", "tokens": 214, "finish": "stop"}}
//! ```
//!
//! Answer: `{"score": 0.5}`, or `{"error": "why there is none"}`. Other keys are left alone.
//! `images` are the names that the data set gives them. Programs and servers get no pixels: they find them by name.

use std::env;

use reft_config::{ProgramRewardConfig, ServerRewardConfig};
use reft_core::{Completion, FinishReason, Reward, RewardOutcome, RewardParts, Sample, StageError};
use reft_remote::{CallError, Program, ProgramSpec, Server, ServerSpec};
use serde_json::{Value, json};

use crate::{RewardError, deadline::seconds};

/// A reward that is asked for outside of the process.
pub struct RemoteReward {
    name: String,
    range: [f32; 2],
    asked: Asked,
}

enum Asked {
    Program(Program),
    Server(Server),
}

impl RemoteReward {
    /// A program that a recipe names. It starts when it is first asked.
    pub fn program(name: &str, config: &ProgramRewardConfig) -> Self {
        let program = Program::new(ProgramSpec {
            command: config.command.clone(),
            processes: config.processes,
            timeout: seconds(config.timeout_s),
            retries: config.retries,
        });
        Self { name: name.to_owned(), range: config.range, asked: Asked::Program(program) }
    }

    /// A server that a recipe names.
    pub fn server(name: &str, config: &ServerRewardConfig) -> Result<Self, RewardError> {
        let token = token(config.token_env.as_deref())
            .map_err(|message| RewardError::Remote { name: name.to_owned(), message })?;
        let server = Server::new(ServerSpec {
            url: config.url.clone(),
            token,
            timeout: seconds(config.timeout_s),
            retries: config.retries,
            backoff: seconds(config.backoff_s),
        });
        let server = server
            .map_err(|error| RewardError::Remote { name: name.to_owned(), message: error.to_string() })?;
        Ok(Self { name: name.to_owned(), range: config.range, asked: Asked::Server(server) })
    }

    fn score_of(&self, answer: &Value) -> Result<f32, String> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        }
        let score = answer.get("score").and_then(Value::as_f64);
        let score =
            score.ok_or_else(|| format!("the answer has no number `score`: {}", clipped(answer)))? as f32;
        let [least, largest] = self.range;
        if (least..=largest).contains(&score) {
            Ok(score)
        } else {
            Err(format!("the score {score} is outside of `range` = [{least}, {largest}]"))
        }
    }
}

impl Reward for RemoteReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(self.score_parts(sample, completion)?.total)
    }

    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let request = question(sample, completion);
        let answer = match &self.asked {
            Asked::Program(program) => program.call(&request),
            Asked::Server(server) => server.call(&request),
        };
        let named = |reason: String| format!("`{}`: {reason}", self.name);
        let outcome = match answer {
            Ok(answer) => match self.score_of(&answer) {
                Ok(score) => return Ok(RewardParts::single(&self.name, score)),
                Err(reason) => RewardOutcome::Failed { reason: named(reason) },
            },
            Err(error @ CallError::Timeout(_)) => RewardOutcome::Timeout { reason: named(error.to_string()) },
            Err(CallError::Failed(reason) | CallError::Refused(reason) | CallError::Missing(reason)) => {
                RewardOutcome::Failed { reason: named(reason) }
            }
            // No completion can ever be scored, so the run should not go on.
            Err(CallError::Unusable(reason)) => {
                return Err(StageError::other(format!("reward `{}`", self.name), reason));
            }
        };
        Ok(RewardParts { outcome, ..RewardParts::single(&self.name, 0.0) })
    }
}

/// The token that an environment variable holds.
fn token(variable: Option<&str>) -> Result<Option<String>, String> {
    let Some(variable) = variable else { return Ok(None) };
    let token = env::var(variable).ok().filter(|token| !token.is_empty());
    token.map(Some).ok_or_else(|| format!("the environment variable `{variable}` of `token_env` is not set"))
}

fn question(sample: &Sample, completion: &Completion) -> Value {
    let images: Vec<&str> = sample.images().map(|image| image.label.as_ref()).collect();
    json!({
        "sample": {
            "id": sample.id.as_str(),
            "task": sample.task.as_str(),
            "form": sample.form.as_str(),
            "problem": sample.problem,
            "solution": sample.solution,
            "images": images,
        },
        "completion": {
            "text": completion.text,
            "tokens": completion.token_ids.len(),
            "finish": match completion.finish {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
            },
            "think_opened": completion.think_opened,
        },
    })
}

fn clipped(answer: &Value) -> String {
    answer.to_string().chars().take(200).collect()
}
