//! A decode step of a whole decoder: the newest token of each completion to the logits of the next.
//!
//! A layer is five stages, each of which needs all of the one before: queries, keys and values; attention; the output
//! projection; gate and up; down. In a stage, each thread of a team makes some of the outputs for all rows; attention is
//! dealt out by key/value heads of groups. From stage to stage numbers stay turned, `[numbers, lanes]`, rows side by
//! side: what one product gives is what the next takes.

mod cache;
mod columns;
mod plan;
mod step;
mod turn;
mod weights;

use std::sync::{Mutex, PoisonError, RwLock};

use self::{
    cache::Cache,
    step::Step,
    turn::{Exchange, Memory, Turn},
};
pub use self::{
    plan::KvPlan,
    weights::{Decoder, Layer, Linear, LowRank},
};
use crate::{
    Rows,
    team::{Member, with_team},
};

/// Rows of a step. More take several steps: the turned rows of one are to stay in the nearest cache.
const MOST_ROWS: usize = 64;

/// A decoder with a cache and threads that are ready to run it.
pub struct Decode<'a> {
    decoder: &'a Decoder<'a>,
    state: &'a State,
    round: &'a dyn Fn(),
}

struct State {
    cache: Cache,
    exchange: Exchange,
    memories: Vec<Mutex<Memory>>,
    step: RwLock<Step>,
}

impl Decode<'_> {
    /// Runs `work` with an empty cache and as many threads, this one included. They wait for steps until it returns.
    pub fn with<T>(
        decoder: &Decoder<'_>,
        plan: KvPlan,
        threads: usize,
        work: impl FnOnce(&Decode<'_>) -> T,
    ) -> T {
        let state = State {
            cache: Cache::new(decoder.layers.len(), decoder.heads, plan),
            exchange: Exchange::new(threads),
            memories: (0..threads).map(|_| Mutex::default()).collect(),
            step: RwLock::default(),
        };
        let State { cache, exchange, memories, step } = &state;
        let turn = |member: &Member<'_>| {
            let step = &step.read().unwrap_or_else(PoisonError::into_inner);
            let turn = Turn { decoder, cache, exchange, step, member, members: threads, stage: 0 };
            turn.run(&memories[member.index]);
        };
        with_team(threads, turn, |round| work(&Decode { decoder, state: &state, round }))
    }

    /// Logits of a row.
    pub fn vocabulary(&self) -> usize {
        self.decoder.vocabulary()
    }

    /// A prompt of `tokens` is that of a group in a layer: keys and values `[tokens, k * d]`, rotary applied. Its completions
    /// begin anew.
    pub fn fill(&self, layer: usize, group: usize, tokens: usize, keys_values: [Rows<'_>; 2]) {
        self.state.cache.fill(layer, group, tokens, keys_values);
    }

    /// The completion of a slot begins anew behind the prompt of its group.
    pub fn begin(&self, slot: usize) {
        self.state.cache.begin(slot);
    }

    /// Reads one more token of each of some slots, ascending, at its position, and writes logits `[slots, vocabulary]`.
    pub fn step(&self, tokens: &[i64], positions: &[i64], slots: &[usize], logits: &mut [f32]) {
        let vocabulary = self.vocabulary();
        assert!(
            tokens.len() == slots.len()
                && positions.len() == slots.len()
                && logits.len() == slots.len() * vocabulary,
            "a token, a position and a row of logits a slot"
        );
        let inputs = tokens.chunks(MOST_ROWS).zip(positions.chunks(MOST_ROWS)).zip(slots.chunks(MOST_ROWS));
        for (((tokens, positions), slots), logits) in inputs.zip(logits.chunks_mut(MOST_ROWS * vocabulary)) {
            self.some_rows([tokens, positions], slots, logits);
        }
    }

    fn some_rows(&self, tokens_positions: [&[i64]; 2], slots: &[usize], logits: &mut [f32]) {
        let State { cache, exchange, memories, step } = self.state;
        let new = Step::new(self.decoder, cache.plan, memories.len(), tokens_positions, slots);
        let lanes = new.lanes;
        *step.write().unwrap_or_else(PoisonError::into_inner) = new;
        (self.round)();
        let (vocabulary, last_stage, mut token) = (self.vocabulary(), 5 * cache.layers.len(), 0);
        exchange.read(last_stage, |piece| {
            for of_token in piece.chunks_exact(lanes) {
                let to = logits[token..].iter_mut().step_by(vocabulary);
                to.zip(of_token).for_each(|(to, logit)| *to = *logit);
                token += 1;
            }
        });
    }
}
