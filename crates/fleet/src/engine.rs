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

use reft_config::{FleetConfig, ServerApi};
use reft_core::{Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_remote::{CallError, ServerSpec};

use crate::{
    answer::completions,
    endpoint::{Endpoint, Weights},
    pool::Pool,
    question::{question, unsupported},
};

/// How often progress is told while nothing comes.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

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
    /// Whose requests load weights.
    api: Option<ServerApi>,
}

/// Whose answers are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// What requests call it.
    pub(crate) model: &'a str,
    /// What a server must have loaded.
    pub(crate) weights: Option<&'a Weights>,
    /// Tokens that must not be drawn.
    pub(crate) never: &'a [i64],
}

impl ServerEngine {
    /// Servers that have not been asked yet.
    pub fn new(config: &FleetConfig) -> Result<Self, FleetError> {
        Self::with_api(config, None)
    }

    /// Servers that load weights by the requests of `api`.
    pub(crate) fn with_api(config: &FleetConfig, api: Option<ServerApi>) -> Result<Self, FleetError> {
        let token = config.token_env.as_deref();
        let token =
            token.map(|name| env::var(name).map_err(|_| FleetError::Token(name.to_owned()))).transpose()?;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let server = |url: &String| {
            let spec = ServerSpec {
                url: url.clone(),
                token: token.clone(),
                timeout: seconds(config.timeout_s),
                // Another server may do better: the pool asks again.
                retries: 0,
                backoff: Duration::ZERO,
            };
            Endpoint::new(&spec, api)
        };
        let servers: Vec<Endpoint> = config.url.iter().map(server).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(FleetError::NoServer);
        }
        Ok(Self {
            pool: Pool::new(servers, config.retries, seconds(config.backoff_s)),
            model: config.model.clone(),
            connections: config.connections.max(1),
            with_extensions: config.extensions,
            api,
        })
    }

    /// The servers.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What requests call some weights.
    pub(crate) fn name_of(&self, weights: &Weights) -> String {
        match (weights.is_adapter, self.api) {
            (false, _) => self.model.clone(),
            (true, Some(ServerApi::Sglang)) => format!("{}:{}", self.model, weights.name),
            (true, _) => weights.name.clone(),
        }
    }

    /// The model of the recipe.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The answers to a question; an interrupt where `stop` is set first.
    fn group(
        &self,
        asked: Asked<'_>,
        sample: &Arc<Sample>,
        params: &SamplingParams,
        stop: &AtomicBool,
    ) -> Result<Group, StageError> {
        let failed = |message: String| StageError::sample(&sample.id, message);
        let question = question(asked, sample, params, self.with_extensions)?;
        let answer = self.pool.ask(&question, asked.weights, stop).ok_or(StageError::Interrupted)?;
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

    /// The answers to some questions, several at a time.
    pub(crate) fn answer(
        &self,
        asked: Asked<'_>,
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
        let work = |told: mpsc::Sender<Result<(), StageError>>| {
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(sample) = samples.get(index) else { return };
                let group = self.group(asked, sample, params, &stop).map(|group| {
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
            for _ in 0..self.connections.min(samples.len()) {
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

impl<P: ?Sized> RolloutEngine<P> for ServerEngine {
    fn generate(
        &mut self,
        _policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        let asked = Asked { model: &self.model, weights: None, never: &[] };
        self.answer(asked, samples, params, progress)
    }
}
