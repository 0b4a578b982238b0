//! Questions to servers, several at a time.

use std::{
    env,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use reft_config::FleetConfig;
use reft_core::{Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_remote::{CallError, Server, ServerSpec};

use crate::{
    answer::completions,
    pool::Pool,
    question::{question, unsupported},
};

/// How often progress is told while nothing comes.
const PAUSE: Duration = Duration::from_millis(200);

/// Servers that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The key is not there.
    #[error("the environment variable `{0}` of `token_env` is not set")]
    Token(String),
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] CallError),
    /// No server.
    #[error("`url` names no server")]
    NoServer,
}

/// A rollout engine that asks servers. Answers of equal seeds are equal as far as the servers keep that.
pub struct ServerEngine {
    pool: Pool,
    model: String,
    connections: usize,
    with_extensions: bool,
}

impl ServerEngine {
    /// Servers that have not been asked yet.
    pub fn new(config: &FleetConfig) -> Result<Self, FleetError> {
        let token = config.token_env.as_deref();
        let token =
            token.map(|name| env::var(name).map_err(|_| FleetError::Token(name.to_owned()))).transpose()?;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let server = |url: &String| {
            Server::new(ServerSpec {
                url: format!("{}/chat/completions", url.trim_end_matches('/')),
                token: token.clone(),
                timeout: seconds(config.timeout_s),
                // Another server may do better: the pool asks again.
                retries: 0,
                backoff: Duration::ZERO,
            })
        };
        let servers: Vec<Server> = config.url.iter().map(server).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(FleetError::NoServer);
        }
        Ok(Self {
            pool: Pool::new(servers, config.retries, seconds(config.backoff_s)),
            model: config.model.clone(),
            connections: config.connections.max(1),
            with_extensions: config.extensions,
        })
    }

    /// The answers to a question; an interrupt where `stop` is set first.
    fn group(
        &self,
        sample: &Arc<Sample>,
        params: &SamplingParams,
        stop: &AtomicBool,
    ) -> Result<Group, StageError> {
        let failed = |message: String| StageError::sample(&sample.id, message);
        let question = question(&self.model, sample, params, self.with_extensions)?;
        let answer = self.pool.ask(&question, stop).ok_or(StageError::Interrupted)?;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let (completions, prompt_tokens) = completions(&answer, params.group_size).map_err(failed)?;
        Ok(Group {
            sample: Arc::clone(sample),
            prompt_tokens,
            completions,
            policy_version: None,
            temperature: None,
        })
    }
}

impl<P: ?Sized> RolloutEngine<P> for ServerEngine {
    fn generate(
        &mut self,
        _policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        if let Some(message) = unsupported(params, self.with_extensions) {
            return Err(StageError::other("rollout", message));
        }
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let groups: Mutex<Vec<Option<Group>>> = Mutex::new(vec![None; samples.len()]);
        let (told, hears) = mpsc::channel();
        let this = &*self;
        let work = |told: mpsc::Sender<Result<(), StageError>>| {
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(sample) = samples.get(index) else { return };
                let group = this.group(sample, params, &stop).map(|group| {
                    groups.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(group);
                });
                // Whoever hears has stopped to.
                if told.send(group).is_err() {
                    return;
                }
            }
        };
        let total = samples.len() * params.group_size;
        let mut done = 0;
        let result = thread::scope(|scope| {
            for _ in 0..this.connections.min(samples.len()) {
                let told = told.clone();
                scope.spawn(|| work(told));
            }
            drop(told);
            let result = loop {
                match hears.recv_timeout(PAUSE) {
                    Ok(Ok(())) => done += params.group_size,
                    Ok(Err(error)) => break Err(error),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
                }
                if !progress(done, total) {
                    break Err(StageError::Interrupted);
                }
            };
            // Questions that are under way are waited for.
            stop.store(true, Ordering::Relaxed);
            result
        });
        result?;
        let groups = groups.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(groups.into_iter().flatten().collect())
    }
}
