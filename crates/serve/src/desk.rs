//! Between the server, which has many threads, and the engine, which has one: requests that wait, and whose turn it is.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reft_rollout::{Load, Request, Source};
use tokio::sync::oneshot;

use crate::{error::ApiError, metrics::Metrics};

/// How long an engine that has nothing to do keeps its memory, and prompts that may be asked again.
const LINGER: Duration = Duration::from_secs(2);

/// How long requests for a model wait while another is answering, until that takes no more.
const TURN: Duration = Duration::from_secs(1);

/// A request that waits for the engine.
pub(crate) struct Job {
    /// The model's name.
    pub(crate) model: String,
    pub(crate) request: Request,
    /// Whether whoever asked has left.
    pub(crate) is_gone: Box<dyn Fn() -> bool + Send>,
    pub(crate) since: Instant,
}

/// What is to be done with the models, between two turns.
pub(crate) enum Command {
    /// An adapter comes, or takes the place of the one of its name.
    Load { name: String, dir: PathBuf, done: oneshot::Sender<Result<(), ApiError>> },
    /// An adapter goes.
    Unload { name: String, done: oneshot::Sender<Result<(), ApiError>> },
}

/// What the engine does next.
pub(crate) enum Work {
    Obey(Command),
    /// Requests for this model wait.
    Answer(String),
    /// The server is closed and nobody waits.
    End,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    commands: VecDeque<Command>,
    is_closed: bool,
}

/// Where requests wait.
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) metrics: Metrics,
}

impl Desk {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts requests at the end of the queue; all or none, if so many would wait that `most` is passed.
    pub(crate) fn submit(&self, jobs: Vec<Job>, most: usize) -> Result<(), ApiError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(ApiError::Stopping);
        }
        state.jobs.retain(|job| !(job.is_gone)());
        if state.jobs.len() + jobs.len() > most.max(jobs.len()) {
            return Err(ApiError::Busy(state.jobs.len()));
        }
        state.jobs.extend(jobs);
        self.metrics.waiting.set(state.jobs.len() as i64);
        self.changed.notify_all();
        Ok(())
    }

    pub(crate) fn command(&self, command: Command) {
        self.state().commands.push_back(command);
        self.changed.notify_all();
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until there is something to do.
    pub(crate) fn work(&self) -> Work {
        let mut state = self.state();
        loop {
            if let Some(command) = state.commands.pop_front() {
                return Work::Obey(command);
            }
            if let Some(job) = state.jobs.front() {
                return Work::Answer(job.model.clone());
            }
            if state.is_closed {
                return Work::End;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes all requests for a model out of the queue: it is not there any more.
    pub(crate) fn take_all(&self, model: &str) -> Vec<Job> {
        let mut state = self.state();
        let (taken, rest): (Vec<Job>, Vec<Job>) =
            std::mem::take(&mut state.jobs).into_iter().partition(|job| job.model == model);
        state.jobs = rest.into();
        taken
    }
}

/// A model's turn: its requests, until others have waited too long.
pub(crate) struct Turn<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) model: &'a str,
    /// What the engine has counted so far in this turn.
    pub(crate) counted: Load,
}

impl Source for Turn<'_> {
    fn next(&mut self, is_idle: bool) -> Option<Request> {
        let until = Instant::now() + LINGER;
        let mut state = self.desk.state();
        loop {
            state.jobs.retain(|job| !(job.is_gone)());
            let others_wait =
                state.jobs.iter().any(|job| job.model != self.model && job.since.elapsed() > TURN);
            let mine = state.jobs.iter().position(|job| job.model == self.model);
            if state.commands.is_empty()
                && !others_wait
                && let Some(job) = mine.and_then(|index| state.jobs.remove(index))
            {
                self.desk.metrics.waiting.set(state.jobs.len() as i64);
                return Some(job.request);
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_wanted = !state.jobs.is_empty() || !state.commands.is_empty() || state.is_closed;
            if !is_idle || is_wanted || left.is_zero() {
                return None;
            }
            state = self.desk.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn load(&mut self, load: Load) {
        let Metrics { running, room, prompts_read, prompts_found, .. } = &self.desk.metrics;
        running.set(load.answers as i64);
        room.set(load.room as i64);
        prompts_read.inc_by(load.prompts_read - self.counted.prompts_read);
        prompts_found.inc_by(load.prompts_found - self.counted.prompts_found);
        self.counted = load;
    }
}
