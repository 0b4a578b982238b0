//! The engine: waiting groups enter and are prefilled together, then one forward pass per token of all completions.

use std::{collections::VecDeque, sync::Arc};

use reft_core::{Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_kernels::KvPlan;
use reft_vlm::{Vlm, model::inference::Inference, processor::EncodedPrompt};
use tch::Tensor;

use crate::{
    RolloutError,
    batch::{Batch, NonFinite, OpenGroup},
    cache::{KvCache, read_prompts, with_cache},
    finish::Finish,
    open::OpenCompletion,
    sampler::Sampler,
};

/// Prompt tokens that run through the network at a time.
pub(crate) const PREFILL_TOKENS: usize = 4_096;

/// Tokens whose keys and values are held at a time, unless said otherwise: 2.4 GB for a 3B model in bf16.
pub(crate) const TOKEN_BUDGET: usize = 65_536;

/// Generates with the policy in this process, by continuous batching: finished completions leave the batch, and waiting
/// groups enter as soon as there is room.
#[derive(Clone, Debug)]
pub struct GenerationEngine {
    /// None takes the policy's, or [`TOKEN_BUDGET`] where it has none.
    token_budget: Option<usize>,
    with_kernels: bool,
}

impl Default for GenerationEngine {
    fn default() -> Self {
        Self { token_budget: None, with_kernels: true }
    }
}

impl GenerationEngine {
    /// Holds keys and values of about this many tokens at a time; a group larger than that is generated alone.
    /// The budget trades memory for speed and never changes what is drawn.
    pub fn with_token_budget(token_budget: usize) -> Self {
        Self { token_budget: Some(token_budget), ..Self::default() }
    }

    /// Computes by tensor operations alone, for comparisons.
    #[must_use]
    pub fn without_kernels(self) -> Self {
        Self { with_kernels: false, ..self }
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
        let _inference = Inference::start();
        let total = samples.len() * group_size;
        let mut n_finished = 0;
        let sampler = Sampler::new(policy.allowed_tokens(), policy.processor(), params)
            .map_err(|error| StageError::other("rollout", error))?;
        let mut report = |n: usize| {
            n_finished += n;
            if progress(n_finished, total) { Ok(()) } else { Err(StageError::Interrupted) }
        };
        let queue = waiting(policy, samples)?;
        let budget = self.token_budget.or_else(|| policy.kv_tokens()).unwrap_or(TOKEN_BUDGET);
        let plan = plan(budget, policy, &queue, params);
        with_cache(policy, plan, self.with_kernels, |cache| {
            Run {
                policy,
                params,
                sampler,
                finish: Finish::new(policy.processor(), params),
                queue,
                batch: Batch::new(plan.groups, group_size, samples.len()),
                cache,
            }
            .answer(&mut report)
        })
    }
}

/// Samples that wait, with their indices among all and their prompts' tokens.
type Queue<'a> = VecDeque<(usize, &'a Arc<Sample>, usize)>;

fn waiting<'a>(policy: &Vlm, samples: &'a [Arc<Sample>]) -> Result<Queue<'a>, StageError> {
    // A count costs no pixels.
    let wait = |(index, sample): (usize, &'a Arc<Sample>)| {
        let tokens = policy.processor().count_prompt_tokens(&sample.messages);
        Ok((index, sample, tokens.map_err(|e| StageError::sample(&sample.id, e))?))
    };
    samples.iter().enumerate().map(wait).collect()
}

fn plan(token_budget: usize, policy: &Vlm, queue: &Queue<'_>, params: &SamplingParams) -> KvPlan {
    let longest = queue.iter().map(|&(_, _, tokens)| tokens).max().unwrap_or(0);
    let limit = params.max_new_tokens.min(policy.processor().context_limit().max(1));
    KvPlan::within(token_budget, queue.len(), params.group_size, longest, limit, policy.state_tokens())
}

/// One call of the engine.
struct Run<'a> {
    policy: &'a Vlm,
    params: &'a SamplingParams,
    sampler: Sampler,
    finish: Finish<'a>,
    queue: Queue<'a>,
    batch: Batch,
    cache: KvCache<'a>,
}

/// A group that has a group slot of the cache.
struct Admitted {
    group_slot: usize,
    group: OpenGroup,
    prompt: EncodedPrompt,
}

impl Run<'_> {
    /// Until nobody waits and all have ended. `report` hears how many have.
    fn answer(
        mut self,
        report: &mut dyn FnMut(usize) -> Result<(), StageError>,
    ) -> Result<Vec<Group>, StageError> {
        loop {
            while let Some(admitted) = self.admit()? {
                report(self.prefill(admitted)?)?;
            }
            let slots = self.batch.live_slots();
            if slots.is_empty() {
                return Ok(self.batch.into_groups());
            }
            report(self.step(slots)?)?;
        }
    }

    /// The next waiting groups that have room, for one prefill; none when no group waits or no group slot is free.
    fn admit(&mut self) -> Result<Option<Vec<Admitted>>, StageError> {
        let (mut admitted, mut n_tokens) = (Vec::new(), 0);
        for group_slot in self.batch.free_group_slots() {
            let Some(&(index, sample, tokens)) = self.queue.front() else { break };
            n_tokens += tokens;
            if !admitted.is_empty() && n_tokens > PREFILL_TOKENS {
                break;
            }
            self.queue.pop_front();
            admitted.push(self.open(group_slot, index, sample)?);
        }
        Ok((!admitted.is_empty()).then_some(admitted))
    }

    fn open(&self, group_slot: usize, index: usize, sample: &Arc<Sample>) -> Result<Admitted, StageError> {
        let error = |error: RolloutError| StageError::sample(&sample.id, error);
        let prompt = self.policy.encode(&sample.messages).map_err(|e| StageError::sample(&sample.id, e))?;
        let (prompt_tokens, limit) = (prompt.token_ids.len(), self.policy.processor().context_limit());
        let room = limit.saturating_sub(prompt_tokens);
        if room == 0 {
            return Err(error(RolloutError::NoRoom { prompt_tokens, limit }));
        }
        let group = OpenGroup {
            index,
            sample: Arc::clone(sample),
            prompt_ids: prompt.token_ids.clone(),
            think_opened: prompt.think_opened,
            next_position: 0, // known once the prompts are packed
            limit: self.params.max_new_tokens.min(room),
            completions: (0..self.params.group_size).map(|_| OpenCompletion::default()).collect(),
        };
        Ok(Admitted { group_slot, group, prompt })
    }

    /// Runs prompts once and draws the first token of each of their completions. Returns how many ended with it.
    fn prefill(&mut self, admitted: Vec<Admitted>) -> Result<usize, StageError> {
        let Self { policy, cache, batch, params, .. } = self;
        let prompts: Vec<_> = admitted.iter().map(|new| (new.group_slot, &new.prompt)).collect();
        let (logits_nv, next_positions) = read_prompts(policy, cache, &prompts);
        let group_slots: Vec<usize> = admitted.iter().map(|new| new.group_slot).collect();
        for (new, next_position) in admitted.into_iter().zip(next_positions) {
            batch.enter(new.group_slot, OpenGroup { next_position, ..new.group });
        }
        // Once for each of its completions.
        let of_prompt = |n: usize| std::iter::repeat_n(n as i64, params.group_size);
        let prompts_r: Vec<i64> = (0..group_slots.len()).flat_map(of_prompt).collect();
        let prompts_r = Tensor::from_slice(&prompts_r).to_device(policy.device());
        let slots = batch.slots_of(&group_slots);
        self.draw(&logits_nv.index_select(0, &prompts_r), &slots)
    }

    /// One more token of each completion that is not finished. Returns how many ended with it.
    fn step(&mut self, slots: Vec<usize>) -> Result<usize, StageError> {
        let newest = self.batch.newest(slots.clone());
        let logits_rv = self.cache.step(&self.policy.network().decoder, newest);
        self.draw(&logits_rv, &slots)
    }

    fn draw(&mut self, logits_rv: &Tensor, slots: &[usize]) -> Result<usize, StageError> {
        let drawn = self.sampler.draw(logits_rv, &self.batch.draws(slots, self.params.seed));
        let pushed = self.batch.push(slots, drawn, &self.finish, self.policy.processor());
        pushed.map_err(|NonFinite { sample, token }| {
            StageError::sample(&sample.id, RolloutError::NonFinite { token })
        })
    }
}
