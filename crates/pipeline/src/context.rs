//! What every loop shares: where the run stands, where it records, who watches.

use reft_core::{Checkpointed, Cursor, Metrics, Peers, RunStore, SamplingParams, Seed, StageError};
use serde_json::{Value, json};

use crate::{
    Observer, Outcome, RunError, StepReport,
    share::{Expected, tell},
};

/// The run as a loop sees it.
pub(crate) struct Context<'a> {
    pub(crate) seed: Seed,
    pub(crate) checkpoint_every: u64,
    pub(crate) cursor: Cursor,
    /// Global step of the newest checkpoint.
    pub(crate) saved: u64,
    /// Updates in a row that were left out.
    pub(crate) skipped: u64,
    /// The current phase's name and steps.
    pub(crate) phase: String,
    pub(crate) total: u64,
    pub(crate) store: &'a mut dyn RunStore,
    pub(crate) observer: &'a mut dyn Observer,
    /// The ranks that share the work.
    pub(crate) peers: &'a dyn Peers,
    pub(crate) expected: Expected,
}

impl Context<'_> {
    /// The seed of the current phase.
    pub(crate) fn phase_seed(&self) -> Seed {
        self.seed.at(self.phase.as_str())
    }

    /// An error on all ranks when the observer of one wants to stop.
    pub(crate) fn check_stop(&self) -> Result<(), StageError> {
        let own = if self.observer.should_stop() { Err(StageError::Interrupted) } else { Ok(()) };
        tell(self.peers, own).map(|_| ())
    }

    /// Records a step that moved the weights, and moves the cursor behind it.
    pub(crate) fn trained(&mut self, metrics: &Metrics, timings: &Metrics) -> Result<(), StageError> {
        let step = self.cursor.step + 1;
        self.record(step, metrics, timings)?;
        self.cursor.step = step;
        self.cursor.global_step += 1;
        self.report(step, metrics, timings);
        Ok(())
    }

    /// Writes a step's numbers.
    pub(crate) fn record(
        &mut self,
        step: u64,
        metrics: &Metrics,
        timings: &Metrics,
    ) -> Result<(), StageError> {
        self.store.step(&self.phase, step, metrics)?;
        self.store.timings(&self.phase, step, timings)
    }

    /// Shows a step's numbers.
    pub(crate) fn report(&mut self, step: u64, metrics: &Metrics, timings: &Metrics) {
        self.observer.step_done(&StepReport {
            phase: &self.phase,
            step,
            total: self.total,
            metrics,
            timings,
        });
    }

    /// Whether a checkpoint is due within the phase. The one at its end is written by the run.
    pub(crate) fn checkpoint_due(&self) -> bool {
        self.cursor.step < self.total && self.is_checkpoint(self.cursor.step)
    }

    /// Whether a checkpoint follows the phase's step `step`, counted from 1.
    pub(crate) fn is_checkpoint(&self, step: u64) -> bool {
        self.checkpoint_every > 0 && step.is_multiple_of(self.checkpoint_every)
    }

    /// Saves a checkpoint, unless nothing was trained since the last one.
    pub(crate) fn checkpoint(
        &mut self,
        parts: &[(&str, &dyn Checkpointed)],
        stages: &Value,
    ) -> Result<(), StageError> {
        if self.cursor.global_step == self.saved {
            return Ok(());
        }
        let mut stages = stages.clone();
        if self.peers.size() > 1 {
            self.check_equal(parts)?;
            let gathered = parts.iter().try_for_each(|(_, part)| part.gather());
            tell(self.peers, gathered)?;
            stages["expected"] = self.expected.save();
        }
        self.store.checkpoint(self.cursor, parts, &stages)?;
        self.saved = self.cursor.global_step;
        Ok(())
    }

    /// An error on all ranks when they would not save the same.
    fn check_equal(&self, parts: &[(&str, &dyn Checkpointed)]) -> Result<(), StageError> {
        let own = parts.iter().map(|(_, part)| part.digest()).collect::<Vec<_>>();
        let all = tell(self.peers, Ok(own))?;
        for (rank, other) in all.iter().enumerate() {
            if let Some(((name, _), _)) =
                parts.iter().zip(all[0].iter().zip(other)).find(|(_, (first, other))| first != other)
            {
                let message = format!(
                    "`{name}` of rank {rank} is not that of rank 0 any more: the ranks do not compute alike; give them \
                     equal machines and equal `run.threads`, and resume from the checkpoint before"
                );
                return Err(StageError::other("ranks", message));
            }
        }
        Ok(())
    }

    /// A stop that the observer asked for.
    pub(crate) fn interrupted(&mut self) -> Result<Outcome, StageError> {
        let details = json!({"phase": self.phase, "step": self.cursor.step});
        self.store.event("interrupted", details)?;
        Ok(Outcome::Interrupted {
            phase: self.phase.clone(),
            step: self.cursor.step,
            checkpoint: self.store.last_checkpoint(),
        })
    }

    /// An error with phase and step. It is recorded too, as far as the store still works.
    pub(crate) fn fail(&mut self, error: StageError) -> RunError {
        let (phase, step) = (self.phase.clone(), self.cursor.step + 1);
        let kind = if matches!(error, StageError::NonFinite { .. }) { "non_finite" } else { "error" };
        let details = json!({"phase": phase, "step": step, "message": error.to_string()});
        // The first error matters; a store that cannot note it (a full disk) must not hide it.
        let _ = self.store.event(kind, details);
        match error {
            StageError::NonFinite { what, .. } => {
                RunError::NonFinite { phase, step, what, checkpoint: self.store.last_checkpoint() }
            }
            source => RunError::Stage { phase, step, source },
        }
    }
}

/// The sampling parameters with their seed set.
pub(crate) fn seeded(params: &SamplingParams, seed: Seed) -> SamplingParams {
    SamplingParams { seed, ..params.clone() }
}

/// An error when a loss or a gradient norm is not a number.
pub(crate) fn check_finite(metrics: &Metrics, step: u64) -> Result<(), StageError> {
    let what = metrics.iter().filter(|(_, value)| !value.is_finite()).find_map(|(name, _)| {
        match name.rsplit('/').next() {
            Some("loss") => Some("loss"),
            Some("grad_norm") => Some("gradient"),
            _ => None,
        }
    });
    match what {
        Some(what) => Err(StageError::NonFinite { what, step, applied: 0 }),
        None => Ok(()),
    }
}
