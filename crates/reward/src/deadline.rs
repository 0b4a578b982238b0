//! A time limit for any reward, so that one that hangs does not stop the run.
//!
//! Scoring happens on a few threads. The limit of a completion starts when its scoring does, not while it waits for a
//! free thread. A call that takes longer pays 0 with the outcome `timeout`; its thread cannot be ended from outside, so
//! it is left alone and another one takes its place. A call that panics pays 0 with the outcome `failed`.
//!
//! What is computed does not depend on the threads: every completion is scored by itself, and results are returned in
//! the order of the completions. Only whether a slow call is in time depends on the machine.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use reft_config::RewardConfig;
use reft_core::{Completion, Group, Reward, RewardOutcome, RewardParts, Sample, StageError};

/// Threads that may hang before the run stops: each keeps its memory, and so many mean that the reward is broken.
const MOST_LOST: isize = 64;

/// A reward with a time limit per completion (per group, times its size, for rewards that compare completions).
pub struct Deadline {
    inner: Arc<dyn Reward>,
    limit: Duration,
    pool: Arc<Pool>,
}

type Scores = Result<Vec<RewardParts>, StageError>;
type Job = Box<dyn FnOnce() -> Scores + Send>;

impl Deadline {
    /// A reward that takes at most `limit` per completion, on up to `threads` threads.
    pub fn new(inner: Box<dyn Reward>, limit: Duration, threads: usize) -> Self {
        Self { inner: inner.into(), limit, pool: Arc::new(Pool::new(threads.max(1))) }
    }

    /// The reward with the limit of a recipe, if it has one, and as many threads as its programs and servers keep busy.
    pub fn from_recipe(inner: Box<dyn Reward>, config: &RewardConfig) -> Box<dyn Reward> {
        if config.timeout_s == 0.0 {
            return inner;
        }
        let cores = rayon::current_num_threads();
        let processes: usize = config.program.values().map(|program| program.processes).sum();
        let connections: usize = config.server.values().map(|server| server.connections).sum();
        Box::new(Self::new(inner, seconds(config.timeout_s), cores.max(processes).max(connections)))
    }

    fn submit(&self, job: impl FnOnce() -> Scores + Send + 'static) -> Result<Arc<Call>, StageError> {
        self.pool.submit(Box::new(job)).map_err(|error| StageError::other("threads for rewards", error))
    }

    /// The scores of a call that was submitted for `n` completions.
    fn wait(&self, call: &Call, limit: Duration, n: usize, sample: &Sample) -> Scores {
        let name = self.inner.name();
        let without_score = |outcome| vec![RewardParts { outcome, ..RewardParts::single(name, 0.0) }; n];
        match call.wait(limit) {
            Some(Ok(scores)) => scores,
            Some(Err(panic)) => {
                Ok(without_score(RewardOutcome::Failed { reason: format!("`{name}`: {panic}") }))
            }
            None => {
                let lost =
                    self.pool.replace().map_err(|error| StageError::other("threads for rewards", error))?;
                if lost > MOST_LOST {
                    return Err(StageError::sample(
                        &sample.id,
                        format!(
                            "{lost} calls of reward `{name}` hang, none of which came back within {} s; mend the \
                             reward, or raise `reward.timeout_s`",
                            limit.as_secs_f64()
                        ),
                    ));
                }
                let reason = format!("`{name}`: no score within {} s", limit.as_secs_f64());
                Ok(without_score(RewardOutcome::Timeout { reason }))
            }
        }
    }
}

impl Reward for Deadline {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(self.score_parts(sample, completion)?.total)
    }

    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let (inner, owned) = (Arc::clone(&self.inner), (sample.clone(), completion.clone()));
        let call = self.submit(move || Ok(vec![inner.score_parts(&owned.0, &owned.1)?]))?;
        let mut scores = self.wait(&call, self.limit, 1, sample)?;
        // The job gives one score, and so does a call without one.
        Ok(scores.pop().unwrap_or_default())
    }

    fn compares(&self) -> bool {
        self.inner.compares()
    }

    fn score_group(&self, group: &Group) -> Scores {
        let n = group.completions.len();
        let owned = Arc::new(group.clone());
        if self.inner.compares() {
            let inner = Arc::clone(&self.inner);
            let call = self.submit(move || inner.score_group(&owned))?;
            return self.wait(&call, self.limit * n.max(1) as u32, n, &group.sample);
        }
        let calls: Vec<Arc<Call>> = (0..n)
            .map(|i| {
                let (inner, owned) = (Arc::clone(&self.inner), Arc::clone(&owned));
                self.submit(move || Ok(vec![inner.score_parts(&owned.sample, &owned.completions[i])?]))
            })
            .collect::<Result<_, _>>()?;
        let mut scores = Vec::with_capacity(n);
        for call in calls {
            scores.extend(self.wait(&call, self.limit, 1, &group.sample)?);
        }
        Ok(scores)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.pool.state().closed = true;
        self.pool.changed.notify_all();
    }
}

/// Seconds of a recipe, which validation keeps finite, not negative and far below the largest duration.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// Threads and what they are to do.
struct Pool {
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Job, Arc<Call>)>,
    /// Threads that work or wait for work.
    alive: usize,
    idle: usize,
    /// Threads that hang. Below 0 for a moment, where one comes back while it is given up.
    lost: isize,
    closed: bool,
}

impl Pool {
    fn new(threads: usize) -> Self {
        Self { threads, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job) -> std::io::Result<Arc<Call>> {
        let call = Arc::new(Call::default());
        let mut state = self.state();
        state.queue.push_back((job, Arc::clone(&call)));
        if state.idle < state.queue.len() && state.alive < self.threads {
            self.spawn(&mut state)?;
        }
        drop(state);
        self.changed.notify_one();
        Ok(call)
    }

    /// Takes a hanging thread off the pool and starts another; says how many hang.
    fn replace(self: &Arc<Self>) -> std::io::Result<isize> {
        let mut state = self.state();
        state.lost += 1;
        state.alive -= 1;
        if !state.queue.is_empty() {
            self.spawn(&mut state)?;
        }
        Ok(state.lost)
    }

    fn spawn(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let pool = Arc::clone(self);
        thread::Builder::new().name("reft-reward".to_owned()).spawn(move || pool.work())?;
        state.alive += 1;
        Ok(())
    }

    fn work(&self) {
        while let Some((job, call)) = self.next() {
            call.start();
            let result = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| message(panic.as_ref()));
            if !call.finish(result) {
                // Nobody waits any more, and another thread has this one's place.
                self.state().lost -= 1;
                return;
            }
        }
    }

    fn next(&self) -> Option<(Job, Arc<Call>)> {
        let mut state = self.state();
        loop {
            if let Some(next) = state.queue.pop_front() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a message"))
}

/// One piece of work and where its result goes.
#[derive(Default)]
struct Call {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
enum Progress {
    #[default]
    Waiting,
    Running(Instant),
    Done(Result<Scores, String>),
    GivenUp,
}

impl Call {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) {
        *self.progress() = Progress::Running(Instant::now());
        self.changed.notify_all();
    }

    /// Hands the result over; false when nobody waits any more.
    fn finish(&self, result: Result<Scores, String>) -> bool {
        let mut progress = self.progress();
        if matches!(*progress, Progress::GivenUp) {
            return false;
        }
        *progress = Progress::Done(result);
        self.changed.notify_all();
        true
    }

    /// The result; none when it took longer than `limit`.
    fn wait(&self, limit: Duration) -> Option<Result<Scores, String>> {
        let mut progress = self.progress();
        loop {
            let left = match &*progress {
                Progress::Waiting => None,
                Progress::Running(since) => Some(limit.saturating_sub(since.elapsed())),
                Progress::Done(_) | Progress::GivenUp => break,
            };
            progress = match left {
                None => self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        match std::mem::replace(&mut *progress, Progress::GivenUp) {
            Progress::Done(result) => Some(result),
            Progress::Waiting | Progress::Running(_) | Progress::GivenUp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use reft_core::{BoxFrame, Form, Task};

    use super::*;

    fn group(texts: &[&str]) -> Group {
        let sample = Sample {
            id: "q".into(),
            task: Task::Math,
            form: Form::Open,
            problem: String::new(),
            messages: Vec::new(),
            solution: "1".into(),
            box_frame: BoxFrame::Original,
            parent: None,
        };
        Group {
            sample: Arc::new(sample),
            prompt_tokens: 0,
            completions: texts.iter().map(|&text| Completion::from_text(text)).collect(),
            policy_version: None,
            temperature: None,
        }
    }

    /// Does what the completion says. A hanging call comes back when the lock is free.
    struct Obeys(Arc<Mutex<()>>);

    impl Reward for Obeys {
        fn name(&self) -> &'static str {
            "obeys"
        }
        fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
            match completion.text.as_str() {
                "hang" => drop(self.0.lock().unwrap_or_else(PoisonError::into_inner)),
                "panic" => panic!("as told"),
                "error" => return Err(StageError::sample(&sample.id, "broken")),
                _ => {}
            }
            Ok(completion.text.len() as f32)
        }
    }

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn a_call_that_hangs_pays_nothing_and_stops_nobody() {
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let deadline = Deadline::new(Box::new(Obeys(Arc::clone(&lock))), SHORT, 2);
        // More hanging calls than threads.
        let group = group(&["hang", "a", "hang", "hang", "bb", "ccc"]);
        let scores = deadline.score_group(&group).unwrap();
        let totals: Vec<f32> = scores.iter().map(|score| score.total).collect();
        assert_eq!(totals, [0.0, 1.0, 0.0, 0.0, 2.0, 3.0]);
        let outcomes: Vec<&str> = scores.iter().map(|score| score.outcome.as_str()).collect();
        assert_eq!(outcomes, ["timeout", "score", "timeout", "timeout", "score", "score"]);
        assert_eq!(scores[0].outcome.reason(), Some("`obeys`: no score within 0.2 s"));

        drop(held);
        // Threads that come back late disturb nothing.
        let late = Instant::now();
        while deadline.pool.state().lost > 0 && late.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        assert_eq!(deadline.pool.state().lost, 0);
        assert_eq!(deadline.score_group(&group).unwrap()[5].total, 3.0);
    }

    #[test]
    fn too_many_hanging_calls_stop_the_run() {
        let lock = Arc::new(Mutex::new(()));
        let _held = lock.lock().unwrap();
        let deadline = Deadline::new(Box::new(Obeys(Arc::clone(&lock))), Duration::from_millis(1), 8);
        let error = deadline.score_group(&group(&["hang"; 80])).unwrap_err().to_string();
        assert!(error.contains("65 calls of reward `obeys` hang") && error.contains("timeout_s"), "{error}");
    }

    #[test]
    fn errors_and_results_pass_in_order() {
        let deadline = Deadline::new(Box::new(Obeys(Arc::default())), Duration::from_secs(60), 4);
        let texts: Vec<String> = (0..200).map(|n| "x".repeat(n % 17)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let many = group(&texts);
        assert_eq!(deadline.score_group(&many).unwrap(), Obeys(Arc::default()).score_group(&many).unwrap());
        assert_eq!(deadline.score(&many.sample, &Completion::from_text("abc")).unwrap(), 3.0);
        let panicked = deadline.score_group(&group(&["panic", "ccc"])).unwrap();
        assert_eq!(panicked[0].outcome.reason(), Some("`obeys`: it panicked: as told"));
        assert_eq!((panicked[0].outcome.as_str(), panicked[1].total), ("failed", 3.0));
        let error = deadline.score_group(&group(&["a", "error"])).unwrap_err();
        assert_eq!(error.to_string(), "sample `q`: broken");
    }

    /// Ranks within a group.
    struct Ranks;

    impl Reward for Ranks {
        fn name(&self) -> &'static str {
            "ranks"
        }
        fn score(&self, _: &Sample, _: &Completion) -> Result<f32, StageError> {
            Ok(0.0)
        }
        fn compares(&self) -> bool {
            true
        }
        fn score_group(&self, group: &Group) -> Scores {
            Ok((0..group.completions.len()).map(|rank| RewardParts::single("ranks", rank as f32)).collect())
        }
    }

    #[test]
    fn rewards_that_compare_see_the_whole_group() {
        let deadline = Deadline::new(Box::new(Ranks), SHORT, 2);
        let scores = deadline.score_group(&group(&["a", "b", "c"])).unwrap();
        assert_eq!(scores.iter().map(|score| score.total).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
    }
}
