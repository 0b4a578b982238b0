//! The engine of `exact = true`: group by group through a [`Replay`], whose training pass gives the same bits.

use std::sync::Arc;

use reft_core::{Group, Progress, RolloutEngine, Sample, SamplingParams, StageError, Support};
use reft_vlm::{Vlm, model::Distribution};
use tch::Tensor;

use crate::{
    Replay, RolloutError, Sampler, Waiting,
    finish::Finish,
    open::{NonFinite, OpenCompletion},
};

/// Generates with the policy in this process so that a trainer can repeat it exactly. A completion that has ended goes on
/// with the end token, unseen, until all of its group have, so that shapes do not depend on what was drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactEngine;

impl ExactEngine {
    /// What completions that have ended go on with.
    pub fn fill(policy: &Vlm) -> i64 {
        policy.processor().tokenizer().end_id()
    }
}

impl RolloutEngine<Vlm> for ExactEngine {
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
        let sampler = Sampler::new(policy.allowed_tokens(), policy.processor(), params)
            .map_err(|error| StageError::other("rollout", error))?;
        let _no_grad = tch::no_grad_guard();
        let mut groups = Vec::with_capacity(samples.len());
        for sample in samples {
            groups.push(generate(policy, sample, &sampler, params)?);
            if !progress(groups.len() * group_size, samples.len() * group_size) {
                return Err(StageError::Interrupted);
            }
        }
        Ok(groups)
    }
}

fn generate(
    policy: &Vlm,
    sample: &Arc<Sample>,
    sampler: &Sampler,
    params: &SamplingParams,
) -> Result<Group, StageError> {
    let prompt = policy.encode(&sample.messages).map_err(|e| StageError::sample(&sample.id, e))?;
    let (prompt_tokens, room) = (prompt.token_ids.len(), policy.processor().context_limit());
    let room = room.saturating_sub(prompt_tokens);
    if room == 0 {
        let limit = policy.processor().context_limit();
        return Err(StageError::sample(&sample.id, RolloutError::NoRoom { prompt_tokens, limit }));
    }
    let limit = params.max_new_tokens.min(room);
    let finish = Finish::new(policy.processor(), params);
    let temperature = if params.temperature > 0.0 { f64::from(params.temperature) } else { 1.0 };
    let packed = policy.pack(&[(&prompt, Vec::new())]);
    let mut replay = Replay::start(policy.network(), &packed, params.group_size);
    let seed = params.seed.at(&sample.id);

    let mut rows: Vec<OpenCompletion> = (0..params.group_size).map(|_| OpenCompletion::default()).collect();
    for t in 0.. {
        let waiting: Vec<Waiting<'_>> = rows
            .iter()
            .enumerate()
            .map(|(m, row)| Waiting {
                uniform: seed.at(m).at(t).uniform(),
                prompt: &prompt.token_ids,
                drawn: &row.token_ids,
            })
            .collect();
        let drawn = sampler.draw(replay.logits(), &waiting);
        // What the trainer will compute, not what the loop over the row has.
        let support = drawn.iter().all(|drawn| drawn.limit.is_some()).then(|| {
            let mut support = Support::default();
            drawn.iter().flat_map(|drawn| &drawn.limit).for_each(|limit| support.push(limit.as_slice()));
            support
        });
        let distribution =
            Distribution { allowed_v: policy.allowed_tokens(), temperature, support: support.as_ref() };
        let logprobs_mv = distribution.log_softmax(replay.logits(), &(0..params.group_size as i64));
        let tokens: Vec<i64> = drawn.iter().map(|drawn| drawn.token).collect();
        let tokens_m1 = Tensor::from_slice(&tokens).unsqueeze(1).to_device(policy.device());
        let logprobs_m = logprobs_mv.gather(1, &tokens_m1, false);
        for (m, (row, drawn)) in rows.iter_mut().zip(&drawn).enumerate() {
            if !row.has_ended() {
                let logprob = logprobs_m.double_value(&[m as i64, 0]) as f32;
                row.push(drawn.token, logprob, drawn.limit.as_ref(), &finish, limit).map_err(
                    |NonFinite { token }| StageError::sample(&sample.id, RolloutError::NonFinite { token }),
                )?;
            }
        }
        if rows.iter().all(OpenCompletion::has_ended) {
            break;
        }
        let fill = ExactEngine::fill(policy);
        let next = |row: &OpenCompletion| row.token_ids.get(t).copied().unwrap_or(fill);
        replay.step(&rows.iter().map(next).collect::<Vec<_>>());
    }
    Ok(Group {
        sample: Arc::clone(sample),
        prompt_tokens,
        completions: rows.into_iter().map(|row| row.close(policy.processor(), prompt.think_opened)).collect(),
        policy_version: None,
        temperature: None,
    })
}
