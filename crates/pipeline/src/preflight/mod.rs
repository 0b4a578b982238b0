//! What is checked before the first step of a reinforcement learning phase.
//!
//! Most runs that learn nothing could have been stopped before they began: the reward pays every answer, or none; the
//! solutions are in another form than the reward reads; the policy does not see its images; all questions are too hard.
//! The checks only read, so what follows is the same with and without them, and a resumed phase does not repeat them.
//! What they found is the event `preflight`.

mod error;
mod probe;
mod self_test;

use std::sync::Arc;

use reft_core::{Demonstration, Sample, StageError};
use serde_json::{Value, json};

pub(crate) use error::list;
pub use error::{Miss, PreflightError};
pub(crate) use probe::misses;
pub use self_test::{SelfTest, self_test};

use crate::{RlStages, context::Context};

/// What a phase checks before it trains.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// Samples with their solutions as the model would have to write them ([`self_test`]); may be empty.
    pub solutions: Vec<Demonstration>,
    /// Answers with which the policy is looked at ([`PolicyOptimizer::examine`](reft_core::PolicyOptimizer::examine)); may
    /// be empty.
    pub answers: Vec<Demonstration>,
    /// Questions for the policy: at least one group of answers must differ; may be empty.
    pub questions: Vec<Arc<Sample>>,
}

/// Runs the checks of a phase that has some.
pub(crate) fn check<P: ?Sized>(
    ctx: &mut Context<'_>,
    policy: &mut P,
    stages: &mut RlStages<P>,
) -> Result<(), StageError> {
    let Some(preflight) = stages.preflight.take() else { return Ok(()) };
    let observer = &mut *ctx.observer;
    if !preflight.solutions.is_empty() {
        observer.message(&format!(
            "phase `{}`: testing the reward on {} solutions",
            ctx.phase,
            preflight.solutions.len()
        ));
    }
    let reward = self_test(stages.reward.as_ref(), &preflight.solutions, &mut |done, total| {
        observer.progress(done, total);
        !observer.should_stop()
    })?;
    for (kind, test) in reward.iter().filter(|(_, test)| test.unpaid > 0) {
        ctx.observer.message(&format!(
            "phase `{}`: {} of {} `{kind}` solutions are not paid in full themselves, so no answer to these questions \
             will be; `reft score` shows which",
            ctx.phase, test.unpaid, test.samples
        ));
    }
    let learning = match preflight.answers.as_slice() {
        [] => Value::Null,
        answers => stages.optimizer.examine(policy, answers)?,
    };
    let policy = probe::probe(ctx, policy, stages, &preflight.questions)?;
    if let Some(probe) = &policy {
        ctx.observer.message(&format!("phase `{}`: {probe}", ctx.phase));
    }
    ctx.store.event(
        "preflight",
        json!({"phase": ctx.phase, "reward": reward, "learning": learning, "policy": policy}),
    )
}
