//! Evaluation while a phase trains: before its first step, every so many steps, and after its last.
//!
//! It only reads the policy, between two steps, so a run's numbers are the same with it and without, unless it ends the phase
//! early or the phase ends with the best policy instead of the last.

use reft_core::{Checkpoint, Checkpointed, StageError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{EvalStages, context::Context, eval, stopwatch::Stopwatch};

/// What a training phase asks while it trains, and what follows from the answers.
pub struct Validation<P: ?Sized> {
    /// Steps from one evaluation to the next.
    pub every: u64,
    /// What is asked. The score is the mean of the benchmarks' accuracies.
    pub asked: EvalStages<P>,
    /// Whether the phase ends with the policy of its best score instead of that of its last step.
    pub keep_best: bool,
    /// Evaluations in a row without a better score than the best after which the phase ends; 0: never.
    pub patience: u64,
}

/// How the scores of a phase have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Course {
    /// The step of the last evaluation.
    last: Option<u64>,
    best: Option<Best>,
    /// Evaluations since then.
    without_gain: u64,
}

/// The best score, the earliest of equals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    step: u64,
    score: f64,
}

/// Whether a phase trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Stop,
}

impl Course {
    /// The course that a checkpoint holds.
    pub(crate) fn load(state: &Value) -> Result<Self, StageError> {
        if state.is_null() {
            return Ok(Self::default());
        }
        serde_json::from_value(state.clone())
            .map_err(|error| StageError::State { stage: "validation", message: error.to_string() })
    }

    pub(crate) fn save(self) -> Value {
        json!(self)
    }

    /// Takes note of a score; whether it is the best so far.
    fn observe(&mut self, step: u64, score: f64) -> bool {
        self.last = Some(step);
        let is_best = self.best.is_none_or(|best| score > best.score);
        if is_best {
            self.best = Some(Best { step, score });
        }
        self.without_gain = if is_best { 0 } else { self.without_gain + 1 };
        is_best
    }
}

/// The course of a phase that starts or resumes. A best policy that is gone is as if it had never been.
pub(crate) fn resume<P: ?Sized>(
    ctx: &mut Context<'_>,
    validation: Option<&Validation<P>>,
    resumed: Option<&Checkpoint>,
) -> Result<Course, StageError> {
    let mut course =
        resumed.map_or(Ok(Course::default()), |from| Course::load(&from.stages["validation"]))?;
    if let (Some(true), Some(best)) = (validation.map(|validation| validation.keep_best), course.best)
        && let Err(error) = ctx.store.best(&ctx.phase, best.step)
    {
        ctx.observer.message(&format!("phase `{}` goes on without its best policy: {error}", ctx.phase));
        course.best = None;
    }
    Ok(course)
}

/// Asks, when it is time to, and says whether the phase goes on.
pub(crate) fn turn<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &P,
    validation: Option<&mut Validation<P>>,
    course: &mut Course,
) -> Result<Verdict, StageError> {
    let Some(validation) = validation else { return Ok(Verdict::GoOn) };
    let step = ctx.cursor.step;
    let is_due = step >= ctx.total || step.is_multiple_of(validation.every.max(1));
    if !is_due || course.last == Some(step) {
        return Ok(Verdict::GoOn);
    }
    let score = ask(ctx, policy, &mut validation.asked)?;
    if course.observe(step, score) && validation.keep_best {
        ctx.store.save_best(&ctx.phase, step, policy)?;
    }
    let is_over = validation.patience > 0 && course.without_gain >= validation.patience && step < ctx.total;
    if is_over {
        let best = course.best.map(|best| best.step);
        ctx.store.event("early_stop", json!({"phase": ctx.phase, "step": step, "best": best}))?;
        ctx.observer.message(&format!(
            "phase `{}` ends after {step} of {} steps: {} evaluations without a better score than after {} steps",
            ctx.phase,
            ctx.total,
            course.without_gain,
            best.unwrap_or_default()
        ));
    }
    Ok(if is_over { Verdict::Stop } else { Verdict::GoOn })
}

/// All benchmarks on the policy as it is; the mean of their accuracies.
fn ask<P: ?Sized>(ctx: &mut Context<'_>, policy: &P, asked: &mut EvalStages<P>) -> Result<f64, StageError> {
    let step = ctx.cursor.step;
    let mut scores = Vec::with_capacity(asked.benchmarks.len());
    let EvalStages { benchmarks, prompts_per_step, sampling, rollout } = asked;
    for benchmark in benchmarks.iter().map(AsRef::as_ref) {
        let mut clock = Stopwatch::start(ctx.peers);
        let questions = eval::Questions { benchmark, prompts_per_step: *prompts_per_step, sampling };
        let key = format!("validation/{}", benchmark.name());
        let graded = questions.answered(ctx, policy, rollout.as_mut(), &key, &mut clock, |_, _| {})?;
        let report = benchmark.report(&graded)?;
        ctx.store.save_validation(&ctx.phase, step, benchmark.name(), &graded, &report)?;
        let accuracy = eval::accuracy(&graded);
        scores.push(accuracy);
        ctx.observer.validated(&ctx.phase, step, benchmark.name(), accuracy);
    }
    Ok(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
}

/// Once a checkpoint holds the course: forgets policies that were the best before.
pub(crate) fn saved<P: ?Sized>(
    ctx: &mut Context<'_>,
    validation: Option<&Validation<P>>,
    course: &Course,
) -> Result<(), StageError> {
    match validation.filter(|validation| validation.keep_best).and(course.best) {
        Some(best) => ctx.store.drop_best(&ctx.phase, best.step),
        None => Ok(()),
    }
}

/// After the last step: the policy that the phase ends with.
pub(crate) fn end<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &mut P,
    validation: Option<&Validation<P>>,
    course: &Course,
) -> Result<(), StageError> {
    let Some(Best { step, score }) = validation.filter(|validation| validation.keep_best).and(course.best)
    else {
        return Ok(());
    };
    if step == ctx.cursor.step {
        return Ok(());
    }
    let dir = ctx.store.best(&ctx.phase, step)?;
    policy.load(&dir)?;
    ctx.store.event("best_kept", json!({"phase": ctx.phase, "step": step, "score": score}))?;
    ctx.observer.message(&format!(
        "phase `{}` ends with its policy after {step} steps, {:.1} % right, the best of its evaluations",
        ctx.phase,
        100.0 * score
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_of_equals_is_the_best() {
        let mut course = Course::default();
        let seen: Vec<bool> = [(0, 0.2), (10, 0.5), (20, 0.5), (30, 0.4), (40, 0.6)]
            .map(|(step, score)| course.observe(step, score))
            .into();
        assert_eq!(seen, [true, true, false, false, true]);
        assert_eq!((course.best, course.without_gain), (Some(Best { step: 40, score: 0.6 }), 0));
        course.observe(50, 0.6);
        assert_eq!((course.best.unwrap().step, course.without_gain), (40, 1));
        assert_eq!(Course::load(&course.save()).unwrap(), course);
        assert_eq!(Course::load(&Value::Null).unwrap(), Course::default());
    }
}
