//! Several servers: the least busy is asked, one that fails is left alone for a while.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reft_remote::CallError;
use serde_json::Value;

use crate::endpoint::{Endpoint, Weights};

/// Longest time that a server which fails is left alone.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// The servers.
pub(crate) struct Pool {
    /// Taken for a moment only; servers are asked outside of it.
    state: Mutex<Vec<Counts>>,
    servers: Vec<Endpoint>,
    backoff: Duration,
    /// Failures after which a question is given up, of all servers together.
    most_failures: u32,
}

/// What is known of a server.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Questions that it is answering.
    busy: usize,
    /// Failures since it last answered, and until when it is left alone for them.
    failures: u32,
    rests_until: Option<Instant>,
    /// Whether it has answered since it last failed, and was looked at since.
    answers: bool,
    is_known: bool,
}

impl Pool {
    /// `retries` is what each server may fail beside its first time.
    pub(crate) fn new(servers: Vec<Endpoint>, retries: u32, backoff: Duration) -> Self {
        let most_failures = (retries + 1).saturating_mul(servers.len() as u32);
        Self { state: Mutex::new(vec![Counts::default(); servers.len()]), servers, backoff, most_failures }
    }

    fn state(&self) -> MutexGuard<'_, Vec<Counts>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers.
    pub(crate) fn servers(&self) -> &[Endpoint] {
        &self.servers
    }

    /// Servers that have answered, and were not looked at since they came or came back.
    pub(crate) fn strangers(&self) -> Vec<usize> {
        let state = self.state();
        (0..state.len()).filter(|&i| state[i].answers && !state[i].is_known).collect()
    }

    /// A server was looked at.
    pub(crate) fn know(&self, index: usize) {
        self.state()[index].is_known = true;
    }

    /// Asks until a server answers; an error is the last one's. A refusal is final: another server would say the same.
    /// None where `stop` is set before a server is free.
    pub(crate) fn ask(
        &self,
        question: &Value,
        weights: Option<&Weights>,
        stop: &AtomicBool,
    ) -> Option<Result<Value, CallError>> {
        let mut failures = 0;
        loop {
            let index = self.take(stop)?;
            let answer = self.servers[index].ask(question, weights);
            let may_pass = matches!(answer, Err(CallError::Failed(_) | CallError::Timeout(_)));
            self.give_back(index, !may_pass);
            match answer {
                Ok(answer) => return Some(Ok(answer)),
                Err(error) if !may_pass => return Some(Err(error)),
                Err(error) => {
                    failures += 1;
                    if failures >= self.most_failures {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// The least busy server that is not left alone; where all are, the first to come back.
    fn take(&self, stop: &AtomicBool) -> Option<usize> {
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let pause = {
                let mut state = self.state();
                let rest = |counts: &Counts| counts.rests_until.filter(|until| *until > now);
                let awake = (0..state.len()).filter(|&i| rest(&state[i]).is_none());
                if let Some(index) = awake.min_by_key(|&i| state[i].busy) {
                    state[index].busy += 1;
                    return Some(index);
                }
                let first = state.iter().filter_map(rest).min();
                first.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
            };
            thread::sleep(pause.clamp(Duration::from_millis(1), LOOK));
        }
        None
    }

    fn give_back(&self, index: usize, has_answered: bool) {
        let counts = &mut self.state()[index];
        counts.busy -= 1;
        counts.answers = has_answered;
        counts.is_known &= has_answered;
        if has_answered {
            (counts.failures, counts.rests_until) = (0, None);
        } else if counts.rests_until.is_none_or(|until| until <= Instant::now()) {
            // Several questions that fail together are one failure.
            counts.failures += 1;
            let rest = self.backoff * 2_u32.saturating_pow((counts.failures - 1).min(10));
            counts.rests_until = Some(Instant::now() + rest.min(LONGEST_REST.max(self.backoff)));
        }
    }
}
