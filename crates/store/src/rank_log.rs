//! What another rank than 0, which has the run directory, leaves in it: a log.

use std::path::{Path, PathBuf};

use reft_core::{JudgedGroup, Metrics, Recorder, ScoredGroup, StageError, Verdict};
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
        let mut log = Self { path: first.with_file_name(format!("{name}_rank_{rank}.log")) };
        log.event("launch", json!({"host": lock::host(), "pid": std::process::id()}))?;
        Ok(log)
    }

    fn line(&self, what: &Value) -> Result<(), StageError> {
        Ok(disk::append_line(&self.path, &format!("{} {what}", clock::now()))?)
    }
}

impl Recorder for RankLog {
    /// Rank 0's.
    fn step(&mut self, _phase: &str, _step: u64, _metrics: &Metrics) -> Result<(), StageError> {
        Ok(())
    }

    fn timings(&mut self, phase: &str, step: u64, timings: &Metrics) -> Result<(), StageError> {
        self.line(&json!({"phase": phase, "step": step, "timings": timings}))
    }

    /// Rank 0's.
    fn groups(&mut self, _phase: &str, _step: u64, _groups: &[ScoredGroup]) -> Result<(), StageError> {
        Ok(())
    }

    /// Rank 0's.
    fn judged(
        &mut self,
        _phase: &str,
        _step: u64,
        _groups: &[(JudgedGroup, Vec<Verdict>)],
    ) -> Result<(), StageError> {
        Ok(())
    }

    fn event(&mut self, kind: &str, details: Value) -> Result<(), StageError> {
        let mut row = json!({"event": kind});
        if let (Value::Object(row), Value::Object(details)) = (&mut row, details) {
            row.extend(details);
        }
        self.line(&row)
    }
}
