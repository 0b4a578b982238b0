//! `run.json`: what a run is.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StoreError, clock, disk, layout::Layout};

/// What a run is, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The run's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The names of its phases in order.
    pub phases: Vec<String>,
    /// Newest checkpoints to keep, at least 1.
    pub keep_checkpoints: usize,
    /// Whether the model at the end of each training phase is kept.
    #[serde(default)]
    pub keep_phases: bool,
    /// Anything else that helps to repeat it: program version, command line, device, threads.
    pub environment: Value,
}

impl RunInfo {
    /// A run with seed 0 that keeps 2 checkpoints.
    pub fn new<S: Into<String>>(name: impl Into<String>, phases: impl IntoIterator<Item = S>) -> Self {
        Self {
            name: name.into(),
            seed: 0,
            phases: phases.into_iter().map(Into::into).collect(),
            keep_checkpoints: 2,
            keep_phases: false,
            environment: Value::Null,
        }
    }
}

/// What `run.json` holds: the info, and how far the run got.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    #[serde(flatten)]
    pub(crate) info: RunInfo,
    /// When it was created.
    pub(crate) created: String,
    /// The stages of each phase so far that a program had replaced by its own.
    #[serde(default)]
    pub(crate) replaced: BTreeMap<String, Vec<String>>,
    /// How many processes have worked on it.
    pub(crate) attempts: u64,
    /// Whether all phases are done.
    pub(crate) finished: bool,
}

impl RunRecord {
    pub(crate) fn new(info: RunInfo) -> Self {
        Self { info, created: clock::now(), replaced: BTreeMap::new(), attempts: 0, finished: false }
    }

    pub(crate) fn read(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.run_json();
        if !path.exists() {
            let reason =
                if layout.root.exists() { "it has no `run.json`" } else { "there is no such folder" };
            return Err(not_a_run(&layout.root, reason));
        }
        let bytes = disk::read(&path)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Damaged { path, reason: error.to_string() })
    }

    pub(crate) fn write(&self, layout: &Layout) -> Result<(), StoreError> {
        let path = layout.run_json();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        disk::replace_synced(&path, &text)
    }
}

pub(crate) fn not_a_run(root: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::NotARun { path: root.to_owned(), reason: reason.into() }
}
