//! The border between the loops and the disk: what a run records, where it stands, how it comes back after a kill.
//!
//! Crate `pipeline` drives these traits, crate `store` implements them on a run directory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Checkpointed, GradedGroup, JudgedGroup, Metrics, SampleId, ScoredGroup, StageError, Verdict};

/// Receives what happens during a run: writes it to disk, shows it, or counts it in a test.
///
/// `step` is the number of steps that the phase has done, so the first record of a phase has step 1.
pub trait Recorder: Send {
    /// The metrics of one step of a phase. No wall-clock values: two runs of one recipe record the same.
    fn step(&mut self, phase: &str, step: u64, metrics: &Metrics) -> Result<(), StageError>;

    /// How long the parts of one step took, in seconds, named `time/...`.
    fn timings(&mut self, phase: &str, step: u64, timings: &Metrics) -> Result<(), StageError>;

    /// Every group of one step of a phase, rejected ones too.
    fn groups(&mut self, phase: &str, step: u64, groups: &[ScoredGroup]) -> Result<(), StageError>;

    /// Every judged group of one step of a rejection phase, with a verdict on each completion.
    fn judged(
        &mut self,
        phase: &str,
        step: u64,
        groups: &[(JudgedGroup, Vec<Verdict>)],
    ) -> Result<(), StageError>;

    /// Something worth a line in `events.jsonl`.
    fn event(&mut self, kind: &str, details: Value) -> Result<(), StageError>;
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Index of the current phase; the number of phases when all are done.
    pub phase: usize,
    /// Steps done in that phase.
    pub step: u64,
    /// Optimizer steps done in the whole run; names the checkpoint and is the policy's version.
    pub global_step: u64,
}

/// A whole checkpoint on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where the run stood.
    pub cursor: Cursor,
    /// The folder; each part is a folder inside.
    pub dir: PathBuf,
    /// What the [`Stateful`](crate::Stateful) stages saved.
    pub stages: Value,
    /// Newer ones that are damaged, each with what is wrong.
    pub passed_over: Vec<String>,
}

/// A batch whose loss or gradient was not finite.
#[derive(Clone, Copy, Debug)]
pub struct FailedBatch<'a> {
    /// `loss` or `gradient`.
    pub what: &'a str,
    /// The groups that the optimizer was given.
    pub groups: &'a [ScoredGroup],
    /// What it found out about them, [`PolicyOptimizer::diagnose`](crate::PolicyOptimizer::diagnose).
    pub diagnosis: &'a Value,
}

/// An answer that a rejection phase kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// The question; look it up in the data set of the phase.
    pub sample: SampleId,
    /// The assistant's whole turn.
    pub completion: String,
    /// The judge's score, 0 to 100.
    pub score: f32,
    /// The judge's reason.
    pub reason: String,
}

/// Everything that a run keeps, and all that a resume needs.
///
/// A resumed run is the uninterrupted run: [`RunStore::resume`] forgets whatever was recorded after the checkpoint, and
/// the loops record it again, bit for bit.
pub trait RunStore: Recorder {
    /// The newest whole checkpoint, after everything recorded later has been dropped. None starts at the beginning.
    fn resume(&mut self) -> Result<Option<Checkpoint>, StageError>;

    /// Saves a checkpoint: `parts` as folders, `stages` as JSON. All or nothing.
    fn checkpoint(
        &mut self,
        cursor: Cursor,
        parts: &[(&str, &dyn Checkpointed)],
        stages: &Value,
    ) -> Result<(), StageError>;

    /// The newest checkpoint of this run, for messages.
    fn last_checkpoint(&self) -> Option<PathBuf>;

    /// Keeps the result of a piece of work that only read the policy, so that a resume need not repeat it.
    /// `policy_version` is the cursor's global step; the chunk is forgotten when a newer policy is saved.
    fn save_chunk(&mut self, policy_version: u64, key: &str, value: &Value) -> Result<(), StageError>;

    /// What [`RunStore::save_chunk`] kept for the same policy and key, when it is still there and whole.
    fn load_chunk(&self, policy_version: u64, key: &str) -> Option<Value>;

    /// The outcome of a rejection phase: every kept completion, in the order of the questions.
    fn save_kept(&mut self, phase: &str, groups: &[(JudgedGroup, Vec<Verdict>)]) -> Result<(), StageError>;

    /// The outcome of a finished rejection phase.
    fn load_kept(&self, phase: &str) -> Result<Vec<KeptAnswer>, StageError>;

    /// The outcome of a benchmark: predictions and report.
    fn save_report(
        &mut self,
        phase: &str,
        benchmark: &str,
        graded: &[GradedGroup],
        report: &Value,
    ) -> Result<(), StageError>;

    /// The outcome of a benchmark that a phase asked after `step` steps while it trained.
    fn save_validation(
        &mut self,
        phase: &str,
        step: u64,
        benchmark: &str,
        graded: &[GradedGroup],
        report: &Value,
    ) -> Result<(), StageError>;

    /// Keeps the policy as it is after `step` steps of a phase, beside those that were kept before.
    fn save_best(&mut self, phase: &str, step: u64, policy: &dyn Checkpointed) -> Result<(), StageError>;

    /// Where [`RunStore::save_best`] has put it; an error where it is gone or damaged.
    fn best(&self, phase: &str, step: u64) -> Result<PathBuf, StageError>;

    /// Forgets the policies that [`RunStore::save_best`] has kept for a phase, but that of step `keep`. Those of phases that
    /// are done go with the next checkpoint.
    fn drop_best(&mut self, phase: &str, keep: u64) -> Result<(), StageError>;

    /// Keeps a batch that could not be trained on, with the weights that it was tried on, for a replay. Returns where.
    fn keep_batch(
        &mut self,
        phase: &str,
        step: u64,
        failed: &FailedBatch<'_>,
        policy: &dyn Checkpointed,
    ) -> Result<PathBuf, StageError>;

    /// A phase that trained is done: keeps the policy in the layout of the final one, where the run was told to. A store
    /// that keeps none need not look.
    fn phase_done(&mut self, _phase: &str, _policy: &dyn Checkpointed) -> Result<(), StageError> {
        Ok(())
    }

    /// A phase starts or resumes with these stages replaced by the user's own. A resume that would replace others than the
    /// phase started with is an error. A store that is not resumed need not look.
    fn check_replaced(&mut self, _phase: &str, _stages: &[&str]) -> Result<(), StageError> {
        Ok(())
    }

    /// The run is done: keeps the final policy.
    fn finish(&mut self, policy: &dyn Checkpointed) -> Result<(), StageError>;

    /// Whether [`RunStore::finish`] was called, now or by an earlier process.
    fn is_finished(&self) -> bool;
}
