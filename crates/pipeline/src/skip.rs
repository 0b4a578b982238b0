//! A step whose update was left out, because its loss or gradient is not finite.

use reft_core::{Checkpointed, FailedBatch, Metrics, ScoredGroup, StageError, what_was_done};
use serde_json::json;

use crate::{
    RlStages,
    context::{Context, check_finite},
};

/// Updates the policy by the groups. Where that gives no number, the batch is kept for a replay and the run goes on; too
/// many such steps in a row stop it.
pub(crate) fn update<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &mut P,
    stages: &mut RlStages<P>,
    groups: &[ScoredGroup],
) -> Result<Metrics, StageError> {
    let step = ctx.cursor.step + 1;
    let (what, applied) = match stages.optimizer.update(policy, groups) {
        Ok(metrics) => {
            // These weights have moved: there is nothing to leave out any more.
            check_finite(&metrics, step)?;
            ctx.skipped = 0;
            return Ok(metrics);
        }
        Err(StageError::NonFinite { what, applied, .. }) => (what, applied),
        Err(error) => return Err(error),
    };

    ctx.skipped += 1;
    let diagnosis = stages.optimizer.diagnose(policy, groups)?;
    let failed = FailedBatch { what, groups, diagnosis: &diagnosis };
    let kept = ctx.store.keep_batch(&ctx.phase, step, &failed, policy)?;
    let details = json!({
        "phase": ctx.phase, "step": step, "what": what, "applied": applied, "in_a_row": ctx.skipped, "batch": kept,
    });
    ctx.store.event("skipped_update", details)?;
    ctx.observer.message(&format!(
        "phase `{}`, step {step}: the {what} is not finite; {} ({} in a row; {} stop the run); \
         `reft replay {}` looks for the cause",
        ctx.phase,
        what_was_done(applied),
        ctx.skipped,
        stages.max_skipped,
        kept.display()
    ));
    if ctx.skipped >= stages.max_skipped {
        return Err(StageError::NonFinite { what, step, applied });
    }
    let mut metrics = Metrics::new();
    metrics.set("grpo/skipped", ctx.skipped as f64);
    Ok(metrics)
}
