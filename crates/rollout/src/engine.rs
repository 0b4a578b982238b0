//! The engine: prompts in chunks, one prefill per chunk, then one forward per token.

use std::sync::Arc;

use reft_core::{Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_vlm::{Vlm, processor::EncodedPrompt};
use tch::Tensor;

use crate::{
    batch::{Batch, OpenGroup},
    cache::{KvCache, Prefill},
    finish::Finish,
    sampler::Sampler,
};

/// Tokens whose keys and values are held at a time, unless said otherwise: 2.4 GB for a 3B model in bf16.
const TOKEN_BUDGET: usize = 65_536;

/// A request that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Nothing to generate.
    #[error("group_size is {group_size} and max_new_tokens is {max_new_tokens}; both must be positive")]
    Empty {
        /// Completions per prompt.
        group_size: usize,
        /// Tokens per completion.
        max_new_tokens: usize,
    },
    /// The prompt fills the context to the last token.
    #[error("its prompt of {prompt_tokens} tokens leaves no room in a context of {limit}")]
    NoRoom {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// A text that is to be banned but is not one token.
    #[error("`sampling.banned`: `{text}` {message}")]
    Banned {
        /// The text.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// A token that is to be banned but does not exist.
    #[error("`sampling.banned_ids`: there is no token {id}, the vocabulary has {size}")]
    NoToken {
        /// Its id.
        id: i64,
        /// Tokens that there are.
        size: usize,
    },
    /// Nothing is left to write.
    #[error("`sampling.banned_ids` and `sampling.banned` ban every token")]
    AllBanned,
    /// The model's output is not a number.
    #[error("the model's logits are not numbers at completion token {token}; its weights have diverged")]
    NonFinite {
        /// Which token.
        token: usize,
    },
}

/// Generates with the policy in this process.
#[derive(Clone, Debug)]
pub struct GenerationEngine {
    token_budget: usize,
}

impl Default for GenerationEngine {
    fn default() -> Self {
        Self { token_budget: TOKEN_BUDGET }
    }
}

impl GenerationEngine {
    /// Holds keys and values of about this many tokens at a time; a group larger than that is generated alone.
    /// The budget trades memory for speed and never changes what is drawn.
    pub fn with_token_budget(token_budget: usize) -> Self {
        Self { token_budget }
    }
}

impl RolloutEngine<Vlm> for GenerationEngine {
    fn generate(
        &mut self,
        policy: &Vlm,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        let &SamplingParams { group_size, max_new_tokens, .. } = params;
        if group_size == 0 || max_new_tokens == 0 {
            return Err(StageError::other("rollout", RolloutError::Empty { group_size, max_new_tokens }));
        }
        let _no_grad = tch::no_grad_guard();
        let total = samples.len() * group_size;
        let mut n_finished = 0;
        let mut report = |n: usize| {
            n_finished += n;
            if progress(n_finished, total) { Ok(()) } else { Err(StageError::Interrupted) }
        };

        let mut groups = Vec::with_capacity(samples.len());
        let mut rest = samples;
        while !rest.is_empty() {
            let chunk = self.take_chunk(policy, rest, params)?;
            rest = &rest[chunk.len()..];
            groups.extend(generate_chunk(policy, chunk, params, &mut report)?);
        }
        Ok(groups)
    }
}

/// A prompt that is ready to run.
struct Ready {
    group: OpenGroup,
    prompt: EncodedPrompt,
}

impl GenerationEngine {
    /// The next samples whose prompts and completions fit the budget, encoded; at least one.
    fn take_chunk(
        &self,
        policy: &Vlm,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
    ) -> Result<Vec<Ready>, StageError> {
        let mut chunk: Vec<Ready> = Vec::new();
        let mut longest_prompt = 0;
        for sample in samples {
            // A count costs no pixels, and the prompt that ends a chunk is encoded with the next one.
            let tokens = policy
                .processor()
                .count_prompt_tokens(&sample.messages)
                .map_err(|e| StageError::sample(&sample.id, e))?;
            longest_prompt = longest_prompt.max(tokens);
            let per_group = longest_prompt + params.group_size * params.max_new_tokens;
            if !chunk.is_empty() && (chunk.len() + 1) * per_group > self.token_budget {
                break;
            }
            chunk.push(ready(policy, sample, params)?);
        }
        Ok(chunk)
    }
}

fn ready(policy: &Vlm, sample: &Arc<Sample>, params: &SamplingParams) -> Result<Ready, StageError> {
    let prompt = policy.encode(&sample.messages).map_err(|e| StageError::sample(&sample.id, e))?;
    let (prompt_tokens, limit) = (prompt.token_ids.len(), policy.processor().context_limit());
    let room = limit.saturating_sub(prompt_tokens);
    if room == 0 {
        return Err(StageError::sample(&sample.id, RolloutError::NoRoom { prompt_tokens, limit }));
    }
    let group = OpenGroup {
        sample: Arc::clone(sample),
        prompt_ids: prompt.token_ids.clone(),
        next_position: 0, // known once the prompts are packed
        limit: params.max_new_tokens.min(room),
    };
    Ok(Ready { group, prompt })
}

fn generate_chunk(
    policy: &Vlm,
    chunk: Vec<Ready>,
    params: &SamplingParams,
    report: &mut dyn FnMut(usize) -> Result<(), StageError>,
) -> Result<Vec<Group>, StageError> {
    let decoder = &policy.network().decoder;
    let sampler = Sampler::new(policy.allowed_tokens(), policy.processor(), params)
        .map_err(|error| StageError::other("rollout", error))?;
    let finish = Finish::new(policy.processor(), params);
    let (mut batch, mut cache, logits_nv) = prefill(policy, chunk, params.group_size);
    let owners_m = Tensor::from_slice(&batch.owners()).to_device(policy.device());
    let mut logits_mv = logits_nv.index_select(0, &owners_m);

    for token in 0.. {
        let drawn = sampler.draw(&logits_mv, &batch.rows(params.seed));
        let n_finished = batch.push(drawn, &finish);
        if let Some(sample) = batch.non_finite() {
            return Err(StageError::sample(&sample.id, RolloutError::NonFinite { token }));
        }
        report(n_finished)?;
        if batch.is_finished() {
            break;
        }

        batch.compact(&mut cache);
        cache.reserve();
        let (tokens_m, positions_3m) = batch.next_input(policy.device());
        let hidden_md = decoder.forward(&decoder.embed(&tokens_m), &positions_3m, &mut cache);
        cache.advance();
        logits_mv = decoder.logits(&hidden_md);
    }
    Ok(batch.into_groups(policy.processor()))
}

/// Runs the prompts of a chunk once: the batch, its cache, and `[n, vocab]` logits after each prompt.
fn prefill(policy: &Vlm, chunk: Vec<Ready>, group_size: usize) -> (Batch, KvCache, Tensor) {
    let network = policy.network();
    let packed = policy.pack(&chunk.iter().map(|ready| (&ready.prompt, Vec::new())).collect::<Vec<_>>());
    let mut plan = Prefill::new(&packed);
    let hidden_td = network.decoder.forward(&network.embed(&packed), &packed.positions_3t, &mut plan);
    let cache = plan.into_cache(&vec![group_size as i64; chunk.len()]);

    let mut end = 0;
    let last_n: Vec<i64> = chunk
        .iter()
        .map(|ready| {
            end += ready.group.prompt_ids.len() as i64;
            end - 1
        })
        .collect();
    let last_n = Tensor::from_slice(&last_n).to_device(policy.device());
    let logits_nv = network.decoder.logits(&hidden_td.index_select(0, &last_n));

    let positions = packed.prompt_positions.iter().map(|positions| positions.next);
    let groups = chunk
        .into_iter()
        .zip(positions)
        .map(|(ready, next_position)| OpenGroup { next_position, ..ready.group });
    (Batch::new(groups.collect(), group_size), cache, logits_nv)
}
