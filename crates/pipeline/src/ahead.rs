//! The next step's questions, which servers answer while this step trains.
//!
//! Their answers are one update behind. A step that begins at a checkpoint is not asked ahead: a run that goes on from it,
//! which has nothing under way, is then the run that was not stopped.

use std::sync::Arc;

use reft_core::{Filled, StageError};
use serde_json::Value;

use crate::{
    RlStages,
    context::Context,
    fill::{self, Questions},
    share::{own_part, tell},
};

/// Questions that are under way.
pub(crate) struct Ahead {
    pub(crate) questions: Questions,
    /// The stages that were asked for them, as they were before: what a checkpoint keeps, so that they are drawn again.
    pub(crate) curriculum: Value,
    pub(crate) refill: Option<Value>,
}

/// Draws the questions of the step behind the current one, and has the engine begin with them; none where it answers only
/// what it is asked, or where no step or a checkpoint follows.
pub(crate) fn begin<P: ?Sized>(
    ctx: &Context<'_>,
    policy: &P,
    stages: &mut RlStages<P>,
) -> Result<Option<Ahead>, StageError> {
    let next = ctx.cursor.step + 1;
    if !stages.rollout.runs_ahead() || next >= stages.steps || ctx.is_checkpoint(next) {
        return Ok(None);
    }
    let curriculum = stages.curriculum.save()?;
    let refill = stages.refill.as_ref().map(|refill| refill.save()).transpose()?;
    let filled = Filled { wanted: stages.prompts_per_step, ..Filled::default() };
    let Some(mut questions) = fill::draw(stages, ctx.phase_seed(), next, &filled)? else { return Ok(None) };

    questions.has_begun = true;
    let Questions { samples, params, .. } = &questions;
    let costs = ctx.expected.tokens(samples.iter().map(AsRef::as_ref), params.group_size);
    let own: Vec<_> = own_part(ctx.peers, &costs).into_iter().map(|i| Arc::clone(&samples[i])).collect();
    // With more ranks than questions this one may have none.
    let begun = if own.is_empty() { Ok(()) } else { stages.rollout.begin(policy, &own, params) };
    tell(ctx.peers, begun)?;
    Ok(Some(Ahead { questions, curriculum, refill }))
}
