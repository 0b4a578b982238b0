//! Answers to requests that come while others are answered.
//!
//! The same continuous batching as [`GenerationEngine`](crate::GenerationEngine), but nobody knows beforehand what will be
//! asked: each request has its own sampling, and hears every token. Memory is planned once. A prompt keeps its group slot
//! until the slot is needed, so that a request with the same prompt finds its keys and values there.
//!
//! An answer depends on prompt, parameters, seed and the request's id alone, not on what else is answered: what
//! `GenerationEngine` draws for a sample of that id.

mod residents;

use std::{collections::BTreeMap, rc::Rc};

use reft_core::{FinishReason, SampleId, SamplingParams};
use reft_kernels::KvPlan;
use reft_vlm::{
    Vlm,
    model::inference::Inference,
    processor::{EncodedPrompt, ImageSpan},
};
use tch::Tensor;

use crate::{
    RolloutError,
    cache::{KvCache, Newest, read_prompts, with_cache},
    engine::{PREFILL_TOKENS, TOKEN_BUDGET},
    finish::Finish,
    open::{NonFinite, OpenCompletion},
    sampler::{Drawn, Sampler, Waiting, uniform},
};
use residents::{Answer, Residents};

/// A prompt, and how it is answered.
pub struct Request {
    /// What the model reads.
    pub prompt: EncodedPrompt,
    /// How, and how many answers (`group_size`).
    pub params: SamplingParams,
    /// Mixed into the seed, as that of a sample is.
    pub id: SampleId,
    /// Most likely tokens that each draw tells.
    pub n_top: usize,
    /// Hears what becomes of it. `false`: nobody listens any more, and the request ends.
    pub listener: Box<dyn FnMut(Event) -> bool + Send>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Event {
    /// An answer has one more token.
    Token {
        /// Which answer, from 0.
        answer: usize,
        /// The token, its log-probability, and the most likely ones.
        drawn: Drawn,
    },
    /// An answer has ended.
    Ended {
        /// Which answer.
        answer: usize,
        /// Why.
        finish: FinishReason,
    },
    /// The request cannot be answered, or no further. The last thing that is heard.
    Failed(RolloutError),
}

/// How much is being answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Answers that are being written.
    pub answers: usize,
    /// Answers that there is room for.
    pub room: usize,
    /// Prompts that were read, and those that were found in the cache, since the engine began.
    pub prompts_read: u64,
    /// Of requests with a prompt that was there.
    pub prompts_found: u64,
}

/// Where requests come from.
pub trait Source {
    /// The next request. While the engine `is_idle` this may wait for one. None: none now; of an idle engine, its end.
    fn next(&mut self, is_idle: bool) -> Option<Request>;

    /// Hears how much is being answered, at each step. The default does not care.
    fn load(&mut self, _load: Load) {}
}

/// What an engine has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Tokens of the longest prompt.
    pub prompt_tokens: usize,
    /// Tokens of the longest answer.
    pub completion_tokens: usize,
    /// Answers to one prompt that share its keys and values.
    pub answers: usize,
    /// Most prompts at a time.
    pub prompts: usize,
}

impl Room {
    /// No more than a context of so many tokens has use for.
    #[must_use]
    pub fn within(self, context: usize) -> Self {
        let (prompt_tokens, completion_tokens) =
            (self.prompt_tokens.min(context), self.completion_tokens.min(context));
        Self { prompt_tokens, completion_tokens, ..self }
    }
}

/// Answers requests as they come.
#[derive(Clone, Copy, Debug)]
pub struct ServingEngine {
    plan: KvPlan,
}

impl ServingEngine {
    /// An engine whose keys and values fit into the policy's memory for them, with room for at least one prompt.
    pub fn new(policy: &Vlm, room: Room) -> Self {
        let room = room.within(policy.processor().context_limit());
        let Room { prompt_tokens, completion_tokens, answers, prompts } = room;
        let budget = policy.kv_tokens().unwrap_or(TOKEN_BUDGET);
        let states = policy.state_tokens();
        Self {
            plan: KvPlan::within(budget, prompts, answers.max(1), prompt_tokens, completion_tokens, states),
        }
    }

    /// Most answers that are written at a time.
    pub fn room(&self) -> usize {
        self.plan.groups * self.plan.group_size
    }

    /// Answers until the source has nothing for an idle engine. What is wrong with a request is heard by its listener.
    pub fn run(&self, policy: &Vlm, source: &mut dyn Source) {
        let _inference = Inference::start();
        with_cache(policy, self.plan, true, |cache| {
            let session = Session {
                policy,
                plan: self.plan,
                cache,
                residents: Residents::new(self.plan),
                open: BTreeMap::new(),
                n_requests: 0,
                waiting: None,
                samplers: Samplers::default(),
                load: Load { room: self.room(), ..Load::default() },
            };
            session.answer(source);
        });
    }
}

/// A request that is being answered.
struct OpenRequest {
    params: SamplingParams,
    id: SampleId,
    sampler: Rc<Sampler>,
    /// Answers that have not ended.
    left: usize,
    /// Tokens after which its answers are cut.
    limit: usize,
    listener: Box<dyn FnMut(Event) -> bool + Send>,
}

/// One run of the engine.
struct Session<'a> {
    policy: &'a Vlm,
    plan: KvPlan,
    cache: KvCache<'a>,
    residents: Residents,
    /// By number.
    open: BTreeMap<u64, OpenRequest>,
    n_requests: u64,
    /// The next one, which has no room yet.
    waiting: Option<Request>,
    samplers: Samplers,
    load: Load,
}

impl Session<'_> {
    fn answer(mut self, source: &mut dyn Source) {
        loop {
            let (prompts, begun) = self.admit(source);
            self.prefill(&prompts);
            self.draw_first(&begun);
            let slots = self.residents.live_slots();
            self.load.answers = slots.len();
            source.load(self.load);
            if slots.is_empty() {
                if self.open.is_empty() && self.waiting.is_none() && begun.is_empty() {
                    return;
                }
                continue;
            }
            self.step(slots);
        }
    }

    /// Takes requests for which there is room: the prompts that have to be read for them, by group slot, and the slots of
    /// their answers.
    fn admit(&mut self, source: &mut dyn Source) -> (Vec<(usize, EncodedPrompt)>, Vec<usize>) {
        let (mut prompts, mut begun, mut n_tokens) = (Vec::new(), Vec::new(), 0);
        while n_tokens < PREFILL_TOKENS {
            let is_idle = self.open.is_empty();
            let Some(mut request) = self.waiting.take().or_else(|| source.next(is_idle)) else { break };
            let sampler = match self.check(&request) {
                Ok(sampler) => sampler,
                Err(error) => {
                    (request.listener)(Event::Failed(error));
                    continue;
                }
            };
            let prompt = &request.prompt;
            let n = request.params.group_size;
            let Some(slots) = self.residents.place(prompt, n, self.n_requests) else {
                self.waiting = Some(request);
                break;
            };
            let missing = self.residents.missing();
            self.load.prompts_found += u64::from(missing.is_empty());
            self.load.prompts_read += missing.len() as u64;
            n_tokens += missing.len() * prompt.token_ids.len();
            begun.extend(slots);
            let room = self.policy.processor().context_limit() - prompt.token_ids.len();
            let Request { prompt, params, id, listener, .. } = request;
            let limit = params.max_new_tokens.min(room);
            self.open.insert(self.n_requests, OpenRequest { params, id, sampler, left: n, limit, listener });
            self.n_requests += 1;
            // Several group slots for more answers than one has room for read the prompt anew; pixels are shared.
            let copies = missing.iter().skip(1).map(|&slot| (slot, copy(&prompt))).collect::<Vec<_>>();
            prompts.extend(copies);
            prompts.extend(missing.first().map(|&slot| (slot, prompt)));
        }
        begun.sort_unstable();
        (prompts, begun)
    }

    /// That a request can be answered at all.
    fn check(&mut self, request: &Request) -> Result<Rc<Sampler>, RolloutError> {
        let KvPlan { groups, group_size, prompt_tokens, completion_tokens } = self.plan;
        let SamplingParams { group_size: n, max_new_tokens, .. } = request.params;
        let tokens = request.prompt.token_ids.len();
        let limit = self.policy.processor().context_limit();
        if n == 0 || max_new_tokens == 0 || tokens == 0 {
            return Err(RolloutError::Empty { group_size: n, max_new_tokens });
        }
        if tokens >= limit {
            return Err(RolloutError::NoRoom { prompt_tokens: tokens, limit });
        }
        for (what, asked, most) in [
            ("tokens of the prompt", tokens, prompt_tokens),
            ("tokens of an answer", max_new_tokens, completion_tokens),
            ("answers", n, groups * group_size),
        ] {
            if asked > most {
                return Err(RolloutError::Beyond { what, asked, most });
            }
        }
        self.samplers.of(self.policy, &request.params, request.n_top)
    }

    /// Reads prompts and keeps the logits behind them.
    fn prefill(&mut self, prompts: &[(usize, EncodedPrompt)]) {
        if prompts.is_empty() {
            return;
        }
        let read: Vec<_> = prompts.iter().map(|(slot, prompt)| (*slot, prompt)).collect();
        let (logits_nv, next_positions) = read_prompts(self.policy, &mut self.cache, &read);
        for (n, (&(slot, _), next)) in read.iter().zip(next_positions).enumerate() {
            self.residents.read(slot, next, logits_nv.get(n as i64));
        }
    }

    /// The first token of answers that begin.
    fn draw_first(&mut self, begun: &[usize]) {
        if begun.is_empty() {
            return;
        }
        for &slot in begun {
            self.cache.begin(slot);
        }
        let logits: Vec<Tensor> = begun.iter().map(|&slot| self.residents.logits(slot)).collect();
        self.draw(&Tensor::stack(&logits, 0), begun);
    }

    /// One more token of each answer.
    fn step(&mut self, slots: Vec<usize>) {
        let (tokens, positions) = slots.iter().map(|&slot| self.residents.newest(slot)).unzip();
        let newest = Newest { slots: slots.clone(), tokens, positions };
        let logits_rv = self.cache.step(&self.policy.network().decoder, newest);
        self.draw(&logits_rv, &slots);
    }

    /// A token for each of some slots, ascending, from its row of logits.
    fn draw(&mut self, logits_rv: &Tensor, slots: &[usize]) {
        let mut first = 0;
        let of_one = |&a: &usize, &b: &usize| self.residents.request(a) == self.residents.request(b);
        let runs: Vec<&[usize]> = slots.chunk_by(of_one).collect();
        for run in runs {
            let rows = logits_rv.narrow(0, first, run.len() as i64);
            first += run.len() as i64;
            let number = self.residents.request(run[0]);
            let Some(open) = number.and_then(|number| self.open.get(&number)) else { continue };
            let waiting = run.iter().filter_map(|&slot| {
                let (prompt, answer) = self.residents.answer(slot)?;
                let drawn = &answer.row.token_ids[..];
                let uniform = uniform(open.params.seed, &open.id, answer.index, drawn.len());
                Some(Waiting { uniform, prompt, drawn })
            });
            let drawn = open.sampler.draw(&rows, &waiting.collect::<Vec<_>>());
            for (&slot, drawn) in run.iter().zip(drawn) {
                self.push(slot, drawn);
            }
        }
    }

    /// Appends a token to an answer, and tells.
    fn push(&mut self, slot: usize, drawn: Drawn) {
        // A request that has been left meanwhile has no answers any more.
        let Some(Answer { request, index, row }) = self.residents.answer_mut(slot) else { return };
        let (number, answer) = (*request, *index);
        let Some(open) = self.open.get_mut(&number) else { return };
        let finish = Finish::new(self.policy.processor(), &open.params);
        let pushed = row.push(drawn.token, drawn.logprob, None, &finish, open.limit);
        let listens = match pushed {
            Err(NonFinite { token }) => {
                (open.listener)(Event::Failed(RolloutError::NonFinite { token }));
                false
            }
            Ok(_) => (open.listener)(Event::Token { answer, drawn }),
        };
        if !listens {
            self.open.remove(&number);
            self.residents.leave(number);
            return;
        }
        let Some(finish) = row.finish() else { return };
        self.residents.end(slot);
        open.left -= 1;
        if !(open.listener)(Event::Ended { answer, finish }) || open.left == 0 {
            self.open.remove(&number);
            self.residents.leave(number);
        }
    }
}

fn copy(prompt: &EncodedPrompt) -> EncodedPrompt {
    let EncodedPrompt { token_ids, images, think_opened } = prompt;
    EncodedPrompt {
        token_ids: token_ids.clone(),
        images: images.iter().map(ImageSpan::shared).collect(),
        think_opened: *think_opened,
    }
}

/// Samplers of the parameters that were asked for last: each holds vectors as long as the vocabulary.
#[derive(Default)]
struct Samplers {
    known: Vec<(SamplingParams, usize, Rc<Sampler>)>,
}

/// Samplers that are kept.
const MOST_SAMPLERS: usize = 16;

impl Samplers {
    fn of(
        &mut self,
        policy: &Vlm,
        params: &SamplingParams,
        n_top: usize,
    ) -> Result<Rc<Sampler>, RolloutError> {
        // What a draw does not depend on.
        let plain = SamplingParams::plain(1);
        let key = SamplingParams {
            stop: plain.stop,
            seed: plain.seed,
            group_size: 1,
            max_new_tokens: 1,
            ..params.clone()
        };
        if let Some((.., found)) = self.known.iter().find(|(known, top, _)| *known == key && *top == n_top) {
            return Ok(Rc::clone(found));
        }
        let sampler = Sampler::new(policy.allowed_tokens(), policy.processor(), params)?;
        let sampler = Rc::new(sampler.with_top(n_top).without_record());
        if self.known.len() == MOST_SAMPLERS {
            self.known.remove(0);
        }
        self.known.push((key, n_top, Rc::clone(&sampler)));
        Ok(sampler)
    }
}
