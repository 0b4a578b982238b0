//! Answers of a policy that learns, from servers that get its weights.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use reft_config::{FleetConfig, WeightSyncConfig};
use reft_core::{Checkpointed, Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};

use crate::{
    FleetError,
    begun::Begun,
    check::{check, check_all},
    endpoint::Weights,
    engine::{Asked, ServerEngine},
};

/// What the servers of a policy need to know.
pub struct PolicyEngineConfig<'a> {
    /// The servers.
    pub servers: &'a FleetConfig,
    /// How they get weights.
    pub sync: &'a WeightSyncConfig,
    /// The run: the name of its weights and of their folder.
    pub run: &'a str,
    /// Whether the policy saves an adapter, or a whole model.
    pub is_adapter: bool,
    /// Tokens that the policy may not write.
    pub never: Vec<i64>,
}

/// A rollout engine over servers for a policy that learns.
///
/// Weights are named after what they are, so that a process which goes on after a kill, or a second rank, finds its own
/// where another has put them.
pub struct PolicyEngine {
    engine: Arc<ServerEngine>,
    run: String,
    folder: PathBuf,
    /// The same folder as servers see it; none where they see it as it is here.
    server_folder: Option<PathBuf>,
    is_adapter: bool,
    max_lag: u64,
    never: Vec<i64>,
    /// What the servers have, and what they had before, whose folder a slower rank may still want.
    published: Option<Published>,
    earlier: Option<PathBuf>,
    /// The policy as it was last seen.
    digest: Option<u64>,
    lag: u64,
    is_checked: bool,
    /// What was asked before it was wanted.
    begun: Option<Begun>,
}

struct Published {
    weights: Weights,
    dir: PathBuf,
}

impl PolicyEngine {
    /// Servers that have no weights of the policy yet.
    pub fn new(config: PolicyEngineConfig<'_>) -> Result<Self, FleetError> {
        let PolicyEngineConfig { servers, sync, run, is_adapter, never } = config;
        Ok(Self {
            engine: Arc::new(ServerEngine::with_api(servers, Some(sync.api))?),
            run: run.to_owned(),
            folder: sync.folder.join(run),
            server_folder: sync.server_folder.as_ref().map(|folder| folder.join(run)),
            is_adapter,
            max_lag: sync.max_lag,
            never,
            published: None,
            earlier: None,
            digest: None,
            lag: 0,
            is_checked: false,
            begun: None,
        })
    }

    /// Counts an update of the policy.
    fn look<P: Checkpointed + ?Sized>(&mut self, policy: &P) -> Result<u64, StageError> {
        let digest = policy.digest().ok_or_else(|| {
            StageError::other(
                "servers",
                "the policy does not say when its weights change (`Checkpointed::digest`)",
            )
        })?;
        if self.digest.replace(digest) != Some(digest) {
            self.lag += 1;
        }
        Ok(digest)
    }

    /// Puts the policy's weights before the servers where theirs are more than `max_lag` updates behind.
    fn publish<P: Checkpointed + ?Sized>(&mut self, policy: &P, max_lag: u64) -> Result<(), StageError> {
        let digest = self.look(policy)?;
        if self.published.is_some() && self.lag <= max_lag {
            return Ok(());
        }
        let name = format!("{}-{digest:016x}", self.run);
        if self.published.is_none() {
            self.clear(&name).map_err(|error| failed(&self.folder, error))?;
        }
        let dir = self.written(policy, &name)?;
        let path = self.server_folder.as_ref().map_or_else(|| dir.clone(), |folder| folder.join(&name));
        let path = path.to_string_lossy().into_owned();
        let new = Published { weights: Weights { name, path, is_adapter: self.is_adapter }, dir };
        let old = self.published.replace(new).map(|old| old.dir);
        let oldest = std::mem::replace(&mut self.earlier, old);
        // Nobody asks for them any more; on a disk that cannot be written to the next save says so.
        if let Some(oldest) =
            oldest.filter(|oldest| self.published.as_ref().is_some_and(|new| new.dir != *oldest))
        {
            let _ = fs::remove_dir_all(oldest);
        }
        self.lag = 0;
        Ok(())
    }

    /// The folder of the policy's weights; written as a whole, or not at all.
    fn written<P: Checkpointed + ?Sized>(&self, policy: &P, name: &str) -> Result<PathBuf, StageError> {
        let dir = self.folder.join(name);
        if dir.exists() {
            return Ok(dir);
        }
        let partial = self.folder.join(format!(".{name}.{}", process::id()));
        fs::create_dir_all(&partial).map_err(|error| failed(&partial, error))?;
        policy.save(&partial)?;
        match fs::rename(&partial, &dir) {
            // Another rank was faster.
            Err(_) if dir.exists() => fs::remove_dir_all(&partial),
            renamed => renamed,
        }
        .map_err(|error| failed(&dir, error))?;
        Ok(dir)
    }

    /// Makes the folder, and removes what earlier processes of this run have left in it. Other ranks may have been faster
    /// with the weights called `name`.
    fn clear(&mut self, name: &str) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.folder = self.folder.canonicalize()?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let old = entry.file_name().to_string_lossy().into_owned();
            if !old.starts_with(&self.run) || old.starts_with(name) {
                continue;
            }
            if self.is_adapter {
                self.engine.pool().servers().iter().for_each(|server| server.unload(&old));
            }
            fs::remove_dir_all(entry.path())?;
        }
        Ok(())
    }
}

impl<P: Checkpointed + ?Sized> RolloutEngine<P> for PolicyEngine {
    fn generate(
        &mut self,
        policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        let begun = self.begun.take().filter(|begun| begun.is_of(samples, params));
        if begun.is_some() {
            self.look(policy)?;
        } else {
            self.publish(policy, self.max_lag)?;
        }
        let Some(Published { weights, dir }) = &self.published else { return Ok(Vec::new()) };
        let model = self.engine.name_of(weights);
        let asked = Asked { model: &model, weights: Some(weights), never: &self.never };
        if !self.is_checked {
            check_all(&self.engine, asked, dir, samples)?;
            self.is_checked = true;
        }
        let groups = match begun {
            Some(begun) => begun.wait(progress)?,
            None => self.engine.answer(asked, samples, params, progress)?,
        };
        groups.iter().try_for_each(complete)?;
        check(&self.engine, asked, dir, samples, self.engine.pool().strangers())?;
        Ok(groups)
    }

    fn lag(&self) -> u64 {
        self.lag
    }

    fn runs_ahead(&self) -> bool {
        self.max_lag > 0
    }

    fn begin(
        &mut self,
        policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
    ) -> Result<(), StageError> {
        // Servers that were not looked at yet are asked by `generate`.
        if !self.is_checked || self.max_lag == 0 {
            return Ok(());
        }
        // The answers will be wanted one update later.
        self.publish(policy, self.max_lag - 1)?;
        self.begun = self.published.as_ref().map(|Published { weights, .. }| {
            Begun::new(&self.engine, weights.clone(), self.never.clone(), samples, params)
        });
        Ok(())
    }
}

fn failed(dir: &Path, error: io::Error) -> StageError {
    StageError::other("weight_sync.folder", format!("`{}`: {error}", dir.display()))
}

/// That every answer has its tokens and their log-probs.
fn complete(group: &Group) -> Result<(), StageError> {
    let is_whole = |tokens: usize, logprobs: usize| tokens > 0 && tokens == logprobs;
    match group.completions.iter().find(|c| !is_whole(c.token_ids.len(), c.logprobs.len())) {
        None => Ok(()),
        Some(_) => Err(StageError::sample(&group.sample.id, NO_TOKENS)),
    }
}

/// What a server must give, to be trained on.
pub(crate) const NO_TOKENS: &str = "an answer of the server has no token ids, or not as many log-probs: both are trained on. \
     vLLM from 0.10.2 and recent SGLang give them (`return_token_ids`), and `reft serve` does";
