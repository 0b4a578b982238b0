//! Completions for a file of chats: `reft generate`.

use std::path::Path;

use reft_config::ModelConfig;
use reft_core::{Completion, Progress, RolloutEngine, SamplingParams, StageError};
use reft_fleet::ServerEngine;
use reft_rollout::GenerationEngine;
use reft_train::token_logprobs;
use reft_vlm::model::Distribution;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Error, chats,
    evaluate::Answerer,
    model,
    partial::{KeepingEngine, of_model},
    relative::rebase,
    table,
};

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GenerateSummary {
    /// Chats answered.
    pub rows: usize,
    /// Completions drawn.
    pub completions: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Completions that were cut off.
    pub truncated: usize,
}

/// Adds `completions` to every row of `input`, `params.group_size` per chat, `batch` chats at a time.
/// Progress counts completions. Answers are kept as they come; the same call goes on with those of one that was stopped.
pub fn generate(
    who: Answerer<'_>,
    input: &Path,
    output: &Path,
    params: &SamplingParams,
    batch: usize,
    progress: Progress<'_>,
) -> Result<GenerateSummary, Error> {
    table::check_output(output)?;
    let ask = Ask { input, output, params, batch };
    match who {
        Answerer::Model(config) => {
            let config = &model::fetched(config)?;
            ask.of(&|| model::open(config), GenerationEngine::default(), &of_model(config), progress)
        }
        Answerer::Servers(config) => {
            let engine = ServerEngine::new(config).map_err(|error| StageError::other("servers", error))?;
            ask.of(&|| Ok(()), engine, &json!({"servers": config}), progress)
        }
    }
}

/// What is asked, and where the answers go.
struct Ask<'a> {
    input: &'a Path,
    output: &'a Path,
    params: &'a SamplingParams,
    batch: usize,
}

impl Ask<'_> {
    /// The answers of `who`. The policy is opened when it is known that there is something to ask.
    fn of<P>(
        &self,
        policy: &dyn Fn() -> Result<P, Error>,
        engine: impl RolloutEngine<P>,
        who: &Value,
        progress: Progress<'_>,
    ) -> Result<GenerateSummary, Error> {
        let Self { input, output, params, batch } = *self;
        let chats = chats::read(input)?;
        let mut engine = KeepingEngine::open(output, engine, who, input, params)?;
        let policy = policy()?;
        let total = chats.samples.len() * params.group_size;
        let mut rows = chats.rows;
        let mut summary = GenerateSummary { rows: rows.len(), completions: 0, tokens: 0, truncated: 0 };
        for (samples, rows) in chats.samples.chunks(batch.max(1)).zip(rows.chunks_mut(batch.max(1))) {
            let done = summary.completions;
            let groups = engine
                .generate(&policy, samples, params, &mut |n, _| progress(done + n, total))
                .map_err(|error| engine.explain(error, chats.samples.len()))?;
            for (group, row) in groups.iter().zip(rows) {
                for completion in &group.completions {
                    summary.completions += 1;
                    summary.tokens += completion.token_ids.len();
                    summary.truncated += usize::from(completion.finish == reft_core::FinishReason::Length);
                }
                let completions: Vec<Value> = group.completions.iter().map(to_json).collect();
                row.insert("completions".into(), completions.into());
                rebase(row, input, output);
            }
        }
        table::write(output, &rows)?;
        engine.finish()?;
        Ok(summary)
    }
}

fn to_json(completion: &Completion) -> Value {
    let mut answer = json!({
        "text": completion.text,
        "token_ids": completion.token_ids,
        "logprobs": completion.logprobs,
        "finish_reason": completion.finish,
    });
    if completion.think_opened {
        answer["think_opened"] = true.into();
    }
    answer
}

/// Log-probabilities of the completions of a file of chats: `reft logprobs`. Returns the number of rows.
///
/// Adds `prompt_tokens`, `token_ids` and `logprobs` to every row: natural logarithms, at temperature 1, of the
/// completion's tokens as tokenized, without an end token and without the mask of sampling.
pub fn logprobs(
    config: &ModelConfig,
    input: &Path,
    output: &Path,
    progress: Progress<'_>,
) -> Result<usize, Error> {
    table::check_output(output)?;
    let chats = chats::read(input)?;
    let policy = model::open(config)?;
    let nothing_masked = policy.allowed_tokens().zeros_like();
    let mut rows = chats.rows;
    let total = rows.len();
    for (i, (row, sample)) in rows.iter_mut().zip(&chats.samples).enumerate() {
        let fail = |message: String| StageError::sample(&sample.id, message);
        let completion = chats.completions[i].as_ref().ok_or_else(|| {
            fail("has no `completion`; add the column, or end the chat with the assistant".into())
        })?;
        let prompt = policy.encode(&sample.messages).map_err(|e| fail(e.to_string()))?;
        let ids = policy.processor().encode_completion(completion, false).map_err(|e| fail(e.to_string()))?;
        let logprobs: Vec<f32> = if ids.is_empty() {
            Vec::new()
        } else {
            let batch = policy.pack(&[(&prompt, vec![&ids])]);
            let logprobs_c = token_logprobs(policy.network(), &batch, Distribution::whole(&nothing_masked));
            (0..ids.len()).map(|c| logprobs_c.double_value(&[c as i64]) as f32).collect()
        };
        row.insert("prompt_tokens".into(), prompt.token_ids.len().into());
        row.insert("token_ids".into(), ids.into());
        row.insert("logprobs".into(), json!(logprobs));
        rebase(row, input, output);
        if !progress(i + 1, total) {
            return Err(StageError::Interrupted.into());
        }
    }
    table::write(output, &rows)?;
    Ok(total)
}
