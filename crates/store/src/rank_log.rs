//! What another rank than 0, which has the run directory, leaves in it: a log.

use std::path::{Path, PathBuf};

use reft_core::StageError;
use serde_json::{Value, json};

use crate::{clock, disk, lock};

/// The log of a rank: its launch, its events and the times of its steps, a line each.
#[derive(Debug)]
pub struct RankLog {
    path: PathBuf,
}

impl RankLog {
    /// Beside the log of rank 0 ([`crate::RunDir::log_path`]): `attempt_1_rank_2.log`.
    pub fn beside(first: &Path, rank: usize) -> Result<Self, StageError> {
        let name = first.file_stem().unwrap_or_default().to_string_lossy();
        let log = Self { path: first.with_file_name(format!("{name}_rank_{rank}.log")) };
        log.line(&json!({"event": "launch", "host": lock::host(), "pid": std::process::id()}))?;
        Ok(log)
    }

    /// Adds a line, with the time before it.
    pub fn line(&self, what: &Value) -> Result<(), StageError> {
        Ok(disk::append_line(&self.path, &format!("{} {what}", clock::now()))?)
    }
}
