//! The reinforcement learning loop.
//!
//! One step: the curriculum picks prompts, the rollout answers each G times, the reward scores, the advantage compares
//! within each group, filters admit or reject groups (all of that in `fill.rs`), the curriculum sees the outcome, the
//! optimizer moves the weights. Servers may be asked the next step's questions before that (`ahead.rs`).

use std::borrow::Cow;

use reft_core::{Checkpoint, Checkpointed, Metrics, ScoredGroup, StageError};
use serde_json::{Value, json};

use crate::{
    RlStages,
    ahead::{self, Ahead},
    context::Context,
    fill,
    guard::Watch,
    metrics, preflight, skip,
    stopwatch::Stopwatch,
    validation::{self, Course, Verdict},
};

/// All steps of the phase, from its start or from `resumed` on.
pub(crate) fn run<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &mut P,
    stages: &mut RlStages<P>,
    resumed: Option<&Checkpoint>,
) -> Result<(), StageError> {
    let mut watch = stages.guard.map(Watch::new);
    stages.optimizer.share_advantage(&stages.advantage);
    if let Some(checkpoint) = resumed {
        stages.optimizer.begin_phase(policy)?;
        restore(stages, watch.as_mut(), checkpoint)?;
        ctx.skipped = checkpoint.stages["skipped"].as_u64().unwrap_or(0);
    } else {
        stages.optimizer.begin_phase(policy)?;
        preflight::check(ctx, policy, stages)?;
    }
    let mut course = validation::resume(ctx, stages.validation.as_ref(), resumed)?;
    let mut ahead = None;
    loop {
        match validation::turn(ctx, policy, stages.validation.as_mut(), &mut course) {
            Ok(Verdict::GoOn) if ctx.cursor.step < stages.steps => {}
            Ok(_) => break,
            Err(error) => {
                if matches!(error, StageError::Interrupted) {
                    let states = save_states(ctx, stages, watch.as_ref(), &course, ahead.as_ref())?;
                    save(ctx, policy, stages, &states, &course)?;
                }
                return Err(error);
            }
        }
        // Taken before the step: an interrupted step must leave no trace in the checkpoint.
        let states = save_states(ctx, stages, watch.as_ref(), &course, ahead.as_ref())?;
        let expected = ctx.expected.clone();
        match step(ctx, policy, stages, watch.as_mut(), &mut ahead) {
            Ok(true) => {}
            Ok(false) => break,
            Err(StageError::Interrupted) => {
                ctx.expected = expected;
                save(ctx, policy, stages, &states, &course)?;
                return Err(StageError::Interrupted);
            }
            Err(error) => return Err(error),
        }
        if ctx.checkpoint_due() {
            let states = save_states(ctx, stages, watch.as_ref(), &course, ahead.as_ref())?;
            save(ctx, policy, stages, &states, &course)?;
        }
    }
    validation::end(ctx, policy, stages.validation.as_ref(), &course)
}

/// One step. `false` when the curriculum has no more samples. `ahead` are its questions where they were asked during the
/// step before, and then those of the next.
fn step<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &mut P,
    stages: &mut RlStages<P>,
    watch: Option<&mut Watch>,
    ahead: &mut Option<Ahead>,
) -> Result<bool, StageError> {
    ctx.check_stop()?;
    let mut clock = Stopwatch::start(ctx.peers);
    let done = ctx.cursor.step;
    let first = ahead.take().map(|ahead| ahead.questions);
    let scored = fill::fill(ctx, policy, stages, &mut clock, first)?;
    if scored.is_empty() {
        return Ok(false);
    }
    let mut step_metrics = metrics::rl(&scored);
    if let Some(refill) = &stages.refill {
        step_metrics.merge(refill.metrics());
    }
    let versions = scored.iter().filter_map(|group| group.group.policy_version);
    let lag = versions.map(|version| ctx.cursor.global_step - version).max().unwrap_or(0);
    if lag > 0 {
        step_metrics.set("rollout/lag", lag as f64);
    }
    clock.lap("reward");
    // Before the update: an answer that makes it fail must not be lost with it.
    ctx.store.groups(&ctx.phase, done + 1, &scored)?;
    stages.curriculum.observe(&scored);
    step_metrics.merge(stages.curriculum.metrics());
    clock.lap("record");
    *ahead = ahead::begin(ctx, policy, stages)?;
    clock.lap("rollout");

    let admitted = admitted(&scored);
    if admitted.is_empty() {
        let details = json!({"phase": ctx.phase, "step": done + 1, "reason": "every group was rejected"});
        ctx.store.event("skipped_step", details)?;
        stages.optimizer.pass_step(policy);
    } else {
        step_metrics.merge(skip::update(ctx, policy, stages, &admitted)?);
    }
    clock.lap("update");

    warn_without_signal(ctx, &step_metrics)?;
    clock.lap("record");
    ctx.trained(&step_metrics, &clock.stop(ctx.peers)?)?;
    if let Some(watch) = watch {
        watch.step(&step_metrics, &scored)?;
    }
    Ok(true)
}

/// The groups to train on; a copy only where some are left out.
fn admitted(groups: &[ScoredGroup]) -> Cow<'_, [ScoredGroup]> {
    if groups.iter().all(ScoredGroup::is_admitted) {
        return Cow::Borrowed(groups);
    }
    let admitted = groups.iter().filter(|group| group.is_admitted());
    Cow::Owned(admitted.cloned().collect())
}

/// A step in which no group tells better from worse teaches nothing; a person should know why.
fn warn_without_signal(ctx: &mut Context<'_>, metrics: &Metrics) -> Result<(), StageError> {
    if metrics.get("reward/zero_std") != Some(1.0) {
        return Ok(());
    }
    let share = |name: &str| metrics.get(name).unwrap_or(0.0);
    let (right, wrong) = (share("groups/all_right"), share("groups/all_wrong"));
    ctx.store.event(
        "no_signal",
        json!({"phase": ctx.phase, "step": ctx.cursor.step + 1, "all_right": right, "all_wrong": wrong}),
    )?;
    ctx.observer.message(&format!(
        "phase `{}`, step {}: no learning signal, the rewards within every group are equal ({:.0} % all right, {:.0} % \
         all wrong); questions that are always or never answered teach nothing",
        ctx.phase,
        ctx.cursor.step + 1,
        100.0 * right,
        100.0 * wrong
    ));
    Ok(())
}

fn save<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &RlStages<P>,
    states: &Value,
    course: &Course,
) -> Result<(), StageError> {
    let optimizer: &dyn Checkpointed = stages.optimizer.as_ref();
    ctx.checkpoint(&[("policy", policy), ("optimizer", optimizer)], states)?;
    validation::saved(ctx, stages.validation.as_ref(), course)
}

fn save_states<P: ?Sized>(
    ctx: &Context<'_>,
    stages: &RlStages<P>,
    watch: Option<&Watch>,
    course: &Course,
    ahead: Option<&Ahead>,
) -> Result<Value, StageError> {
    let filters: Result<Vec<Value>, StageError> = stages.filters.iter().map(|filter| filter.save()).collect();
    let curriculum = ahead.map_or_else(|| stages.curriculum.save(), |ahead| Ok(ahead.curriculum.clone()))?;
    let mut states = json!({"curriculum": curriculum, "filters": filters?});
    if let Some(refill) = &stages.refill {
        states["refill"] = match ahead.and_then(|ahead| ahead.refill.clone()) {
            Some(state) => state,
            None => refill.save()?,
        };
    }
    if ctx.skipped > 0 {
        states["skipped"] = ctx.skipped.into();
    }
    if let Some(watch) = watch {
        states["guard"] = watch.save()?;
    }
    if stages.validation.is_some() {
        states["validation"] = course.save();
    }
    Ok(states)
}

fn restore<P: ?Sized>(
    stages: &mut RlStages<P>,
    watch: Option<&mut Watch>,
    checkpoint: &Checkpoint,
) -> Result<(), StageError> {
    stages.optimizer.load(&checkpoint.dir.join("optimizer"))?;
    stages.curriculum.load(&checkpoint.stages["curriculum"])?;
    let filters = checkpoint.stages["filters"].as_array();
    let filters = filters.map_or(&[][..], Vec::as_slice);
    if filters.len() != stages.filters.len() {
        return Err(StageError::State {
            stage: "filters",
            message: format!(
                "the checkpoint has {} of them, this run has {}; resume with the recipe it was made by",
                filters.len(),
                stages.filters.len()
            ),
        });
    }
    for (filter, state) in stages.filters.iter_mut().zip(filters) {
        filter.load(state)?;
    }
    if let Some(watch) = watch {
        watch.load(&checkpoint.stages["guard"])?;
    }
    match &mut stages.refill {
        Some(refill) => refill.load(&checkpoint.stages["refill"]),
        None => Ok(()),
    }
}
