//! A run: phases in order, from the newest checkpoint on.

use std::{collections::BTreeSet, path::PathBuf};

use reft_core::{Checkpoint, Checkpointed, Cursor, Peers, RunStore, Seed, StageError};
use serde_json::json;

use crate::{
    Observer, PhaseBuilder, PhaseInfo, RunError, Stages, context::Context, eval, reject, rl, sft,
    share::Expected,
};

/// A run over phases. The caller brings the policy, the store, the observer and the builder.
pub struct Run<'a, P> {
    /// The seed of every random number.
    pub seed: Seed,
    /// Steps between checkpoints within a training phase; 0: only at its end.
    pub checkpoint_every: u64,
    /// Makes the stages of each phase.
    pub phases: &'a mut dyn PhaseBuilder<P>,
    /// Keeps everything.
    pub store: &'a mut dyn RunStore,
    /// Watches.
    pub observer: &'a mut dyn Observer,
    /// The ranks that share the work, [`Alone`](reft_core::Alone) for one process. With several, `store` is a
    /// [`SharedStore`](crate::SharedStore), and every rank brings the same policy and builds the same stages.
    pub peers: &'a dyn Peers,
}

/// How a run ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All phases are done.
    Finished {
        /// Optimizer steps of the whole run.
        global_step: u64,
    },
    /// The observer asked to stop. A resume continues after the last completed step.
    Interrupted {
        /// The phase that was interrupted.
        phase: String,
        /// Steps done in it.
        step: u64,
        /// Where a resume starts; none when nothing was trained yet.
        checkpoint: Option<PathBuf>,
    },
}

impl<P: Checkpointed> Run<'_, P> {
    /// Runs what is left to run. `policy` is the start checkpoint; a resume overwrites it.
    pub fn run(self, policy: &mut P) -> Result<Outcome, RunError> {
        let names = self.phases.names();
        check_unique(&names)?;
        let resumed = self.store.resume().map_err(RunError::Store)?;
        let start = resumed.as_ref().map(|checkpoint| checkpoint.cursor);
        if start.is_some_and(|cursor| cursor.phase > names.len()) {
            return Err(RunError::PhaseOutOfRange {
                phase: start.unwrap_or_default().phase,
                phases: names.len(),
            });
        }
        if let Some(checkpoint) = &resumed {
            for damaged in &checkpoint.passed_over {
                self.observer.message(&format!(
                    "checkpoint {damaged}; it is set aside, and the run goes on from the one before"
                ));
            }
            policy.load(&checkpoint.dir.join("policy")).map_err(RunError::Store)?;
        }

        let mut ctx = Context {
            seed: self.seed,
            checkpoint_every: self.checkpoint_every,
            cursor: start.unwrap_or_default(),
            saved: start.unwrap_or_default().global_step,
            skipped: 0,
            phase: String::new(),
            total: 0,
            store: self.store,
            observer: self.observer,
            peers: self.peers,
            expected: resumed
                .as_ref()
                .map_or_else(Expected::default, |checkpoint| Expected::load(&checkpoint.stages["expected"])),
        };
        if ctx.store.is_finished() {
            return Ok(Outcome::Finished { global_step: ctx.cursor.global_step });
        }
        let mut resumed = resumed.filter(|checkpoint| checkpoint.cursor.step > 0);
        while let Some(name) = names.get(ctx.cursor.phase) {
            ctx.phase.clone_from(name);
            let phase = run_phase(&mut ctx, self.phases, policy, resumed.take(), names.len());
            match phase {
                Ok(()) => {}
                Err(StageError::Interrupted) => return ctx.interrupted().map_err(|e| ctx.fail(e)),
                Err(error) => return Err(ctx.fail(error)),
            }
        }
        ctx.store.finish(policy).map_err(RunError::Store)?;
        Ok(Outcome::Finished { global_step: ctx.cursor.global_step })
    }
}

/// One phase from start, or from `resumed`, to end; moves the cursor to the next one.
fn run_phase<P: Checkpointed>(
    ctx: &mut Context<'_>,
    phases: &mut dyn PhaseBuilder<P>,
    policy: &mut P,
    resumed: Option<Checkpoint>,
    n_phases: usize,
) -> Result<(), StageError> {
    let index = ctx.cursor.phase;
    let mut stages = phases.build(index, policy, ctx.store)?;
    ctx.store.check_replaced(&ctx.phase, &phases.replaced())?;
    ctx.total = stages.total();
    ctx.skipped = 0;
    let details = json!({"phase": ctx.phase, "kind": stages.kind(), "step": ctx.cursor.step});
    ctx.store.event("phase_start", details)?;
    ctx.observer.phase_started(&PhaseInfo {
        name: &ctx.phase,
        kind: stages.kind(),
        index,
        phases: n_phases,
        done: ctx.cursor.step,
        total: ctx.total,
        batch: &stages.batch(),
        ahead: phases.plan().get(index + 1..).unwrap_or_default(),
    });

    let trains = match &mut stages {
        Stages::Rl(stages) => rl::run(ctx, policy, stages, resumed.as_ref()).map(|()| true)?,
        Stages::Sft(stages) => sft::run(ctx, policy, stages, resumed.as_ref()).map(|()| true)?,
        Stages::Reject(stages) => reject::run(ctx, policy, stages).map(|()| false)?,
        Stages::Eval(stages) => eval::run(ctx, policy, stages).map(|()| false)?,
    };

    if trains {
        ctx.store.phase_done(&ctx.phase, policy)?;
    }
    ctx.store.event("phase_end", json!({"phase": ctx.phase, "step": ctx.cursor.step}))?;
    ctx.cursor = Cursor { phase: index + 1, step: 0, ..ctx.cursor };
    if trains {
        // The next phase takes its own optimizer and its own KL reference, so only the policy is carried over.
        ctx.checkpoint(&[("policy", policy)], &json!({}))?;
    }
    Ok(())
}

fn check_unique(names: &[String]) -> Result<(), RunError> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(RunError::DuplicatePhase(name.clone())),
        None => Ok(()),
    }
}
