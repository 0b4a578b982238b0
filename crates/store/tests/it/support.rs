//! Short ways to make a run directory.

use std::path::Path;

use reft_core::{Checkpointed, Cursor, Metrics, Recorder as _, RunStore as _, StageError};
use reft_store::{RunDir, RunInfo};
use serde_json::json;

/// A run of three phases that keeps two checkpoints.
pub(crate) fn create(root: &Path) -> RunDir {
    RunDir::create(root, &RunInfo::new("test", ["a", "b", "c"]), "seed = 0\n").unwrap()
}

/// A part whose file repeats one byte.
pub(crate) struct Blob {
    pub(crate) byte: u8,
    pub(crate) len: usize,
}

impl Blob {
    pub(crate) fn small(byte: u8) -> Self {
        Self { byte, len: 16 }
    }
}

impl Checkpointed for Blob {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        let path = dir.join("blob.bin");
        std::fs::write(&path, vec![self.byte; self.len]).map_err(|error| StageError::file(path, error))
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        let path = dir.join("blob.bin");
        let bytes = std::fs::read(&path).map_err(|error| StageError::file(path, error))?;
        *self = Self { byte: bytes[0], len: bytes.len() };
        Ok(())
    }
}

pub(crate) fn cursor(phase: usize, step: u64, global_step: u64) -> Cursor {
    Cursor { phase, step, global_step }
}

pub(crate) fn save(run: &mut RunDir, at: Cursor) -> Result<(), StageError> {
    let blob = Blob::small(at.global_step as u8);
    run.checkpoint(at, &[("policy", &blob)], &json!({"step": at.step}))
}

/// Records a step and saves a checkpoint behind it.
pub(crate) fn step_and_save(run: &mut RunDir, at: Cursor) {
    step(run, "a", at.step);
    save(run, at).unwrap();
}

pub(crate) fn step(run: &mut RunDir, phase: &str, step: u64) {
    let mut metrics = Metrics::new();
    metrics.set("reward/mean", step as f64);
    run.step(phase, step, &metrics).unwrap();
    run.timings(phase, step, &metrics).unwrap();
}
