//! The hub and its cache, as the environment says: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use hf_hub::{
    Cache,
    api::sync::{Api, ApiBuilder, ApiError},
};
use sha2::{Digest as _, Sha256};

use crate::{HubError, HubId, Kind};

/// How often a download that breaks off is taken up again.
const RETRIES: usize = 5;
/// Between two looks at a file that another process fetches.
const LOCKED: Duration = Duration::from_secs(1);
/// Where the hub is.
const ENDPOINT: &str = "https://huggingface.co";
/// Digits of a SHA-256, which is what the hub calls a large file by.
const SHA256: usize = 64;

/// The hub, and what has been fetched of it.
pub struct Hub {
    pub(crate) endpoint: String,
    pub(crate) token: Option<String>,
    cache: Cache,
    is_offline: bool,
    shows_progress: bool,
}

impl Hub {
    /// As the environment says. Downloads show their progress where stderr is a terminal.
    pub fn from_env() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let cache = set("HF_HUB_CACHE").map_or_else(Cache::from_env, |dir| Cache::new(dir.into()));
        let is_true = |name: &str| {
            set(name)
                .is_some_and(|value| !["0", "false", "no", "off"].contains(&value.to_lowercase().as_str()))
        };
        Self {
            endpoint: set("HF_ENDPOINT")
                .map_or_else(|| ENDPOINT.into(), |url| url.trim_end_matches('/').into()),
            token: set("HF_TOKEN").or_else(|| cache.token()),
            cache,
            is_offline: is_true("HF_HUB_OFFLINE"),
            shows_progress: io::stderr().is_terminal(),
        }
    }

    /// The same name at its commit of now. Without the hub that of the last time it was fetched.
    pub fn pinned(&self, id: &HubId) -> Result<HubId, HubError> {
        if id.is_pinned() {
            return Ok(id.clone());
        }
        match self.info(id) {
            Ok((commit, _)) => {
                // For the next time, when there may be no hub.
                let kept = self.cache.repo(id.as_repo()).create_ref(&commit);
                kept.map_err(|error| HubError::File(self.repo_dir(id), error))?;
                Ok(id.at(&commit))
            }
            Err(error @ HubError::Offline { .. }) => {
                self.cached_commit(id).map(|commit| id.at(&commit)).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The folder of a model, or a file of a data set, fetched where it is not in the cache.
    pub fn fetch(&self, id: &HubId) -> Result<PathBuf, HubError> {
        let id = &self.pinned(id)?;
        match (id.kind(), id.file()) {
            (Kind::Model, None) => self.model(id),
            (Kind::Model, Some(_)) => Err(HubError::Unusable(
                id.clone().into(),
                "a model is a whole repository, not a file of one".into(),
            )),
            (Kind::Dataset, Some(file)) => self.file(id, file),
            (Kind::Dataset, None) => {
                let (_, files) = self.info(id)?;
                let tables = files.iter().filter(|file| {
                    [".parquet", ".jsonl", ".json", ".tsv"].iter().any(|ending| file.ends_with(ending))
                });
                let tables: Vec<&str> = tables.map(String::as_str).take(8).collect();
                let message = format!("name a file of it, `{id}/FILE`; it has {}", tables.join(", "));
                Err(HubError::Unusable(id.clone().into(), message))
            }
        }
    }

    fn model(&self, id: &HubId) -> Result<PathBuf, HubError> {
        let folder = self.snapshot(id);
        if folder.join(COMPLETE).exists() {
            return Ok(folder);
        }
        let files = match self.info(id) {
            Ok((_, files)) => files,
            // Another tool has fetched it; what it left out is missed by name when the folder is opened.
            Err(HubError::Offline { .. }) if is_checkpoint(&folder) => return Ok(folder),
            Err(error) => return Err(error),
        };
        let wanted: Vec<&String> = files.iter().filter(|file| is_wanted(file)).collect();
        if !wanted.iter().any(|file| file.ends_with(".safetensors")) {
            return Err(HubError::Unusable(
                id.clone().into(),
                "has no `.safetensors`; other formats are not read".into(),
            ));
        }
        for file in wanted {
            self.file(id, file)?;
        }
        let mark = folder.join(COMPLETE);
        fs::write(&mark, "").map_err(|error| HubError::File(mark, error))?;
        Ok(folder)
    }

    /// A file in the cache.
    fn file(&self, id: &HubId, file: &str) -> Result<PathBuf, HubError> {
        let cached = self.snapshot(id).join(file);
        if cached.exists() {
            return Ok(cached);
        }
        let repo = self.api(id)?.repo(id.as_repo());
        let path = loop {
            match repo.get(file) {
                // Another process fetches it.
                Err(ApiError::LockAcquisition(_)) => thread::sleep(LOCKED),
                found => break found.map_err(|error| self.explained(id, Some(file), error))?,
            }
        };
        check_bytes(&path)?;
        Ok(path)
    }

    /// The commit of a revision and its files.
    fn info(&self, id: &HubId) -> Result<(String, Vec<String>), HubError> {
        let info =
            self.api(id)?.repo(id.as_repo()).info().map_err(|error| self.explained(id, None, error))?;
        Ok((info.sha, info.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    fn api(&self, id: &HubId) -> Result<Api, HubError> {
        if self.is_offline {
            return Err(self.offline(id, "`HF_HUB_OFFLINE` is set".into()));
        }
        ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_retries(RETRIES)
            .with_progress(self.shows_progress)
            .with_user_agent("curr-reft", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| self.explained(id, None, error))
    }

    fn offline(&self, id: &HubId, reason: String) -> HubError {
        HubError::Offline { id: id.clone().into(), cache: self.cache.path().clone(), reason }
    }

    fn explained(&self, id: &HubId, file: Option<&str>, error: ApiError) -> HubError {
        let inner = match error {
            ApiError::TooManyRetries(inner) => *inner,
            other => other,
        };
        match (inner, file) {
            (ApiError::RequestError(error), file) => match (*error, file) {
                (ureq::Error::StatusCode(status @ (401 | 403)), _) => {
                    HubError::Refused(id.clone().into(), status)
                }
                (ureq::Error::StatusCode(404), _) => HubError::Missing(id.clone().into()),
                (error, Some(file)) => HubError::Download {
                    id: id.clone().into(),
                    file: file.into(),
                    source: Box::new(Box::new(error).into()),
                },
                (error, None) => self.offline(id, format!("`{}`: {error}", self.endpoint)),
            },
            (error, Some(file)) => {
                HubError::Download { id: id.clone().into(), file: file.into(), source: error.into() }
            }
            (error, None) => self.offline(id, error.to_string()),
        }
    }

    /// Where a commit's files are.
    fn snapshot(&self, id: &HubId) -> PathBuf {
        self.repo_dir(id).join("snapshots").join(id.revision())
    }

    /// What a branch or tag was when it was last fetched.
    fn cached_commit(&self, id: &HubId) -> Option<String> {
        let commit = fs::read_to_string(self.repo_dir(id).join("refs").join(id.revision())).ok()?;
        Some(commit.trim().to_owned())
    }

    fn repo_dir(&self, id: &HubId) -> PathBuf {
        self.cache.path().join(id.as_repo().folder_name())
    }
}

/// Says that all files of a model have been fetched.
const COMPLETE: &str = ".reft-complete";

/// Whether a folder could be opened as a model or an adapter.
fn is_checkpoint(folder: &Path) -> bool {
    folder.join("config.json").exists() || folder.join("adapter_config.json").exists()
}

/// Files of a repository that a model is opened from.
fn is_wanted(file: &str) -> bool {
    let endings = [".json", ".safetensors", ".txt", ".jinja", ".model"];
    // `consolidated` has the same weights once more, by names of another project.
    !file.contains('/')
        && !file.starts_with("consolidated")
        && endings.iter().any(|ending| file.ends_with(ending))
}

/// Large files are stored under their SHA-256.
fn check_bytes(path: &Path) -> Result<(), HubError> {
    let failed = |error| HubError::File(path.to_owned(), error);
    let blob = path.canonicalize().map_err(failed)?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.len() != SHA256 {
        return Ok(());
    }
    if name == sha256(&blob).map_err(failed)? {
        return Ok(());
    }
    fs::remove_file(path).and_then(|()| fs::remove_file(&blob)).map_err(failed)?;
    Err(HubError::Damaged(path.to_owned()))
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
