//! The supervised fine-tuning loop: batches of a seeded shuffle, epoch after epoch.
//!
//! Which demonstrations a step sees depends on (seed, phase, epoch, position) alone, so a resume needs no loader state.

use rand::seq::SliceRandom as _;
use reft_core::{Checkpoint, Checkpointed, Demonstration, Seed, StageError};
use serde_json::json;

use crate::{
    SftStages,
    context::{Context, check_finite},
    stopwatch::Stopwatch,
    validation::{self, Course, Verdict},
};

/// Demonstrations with which the trainer looks at the policy before its first step.
const EXAMINED: usize = 2;

/// All steps of the phase, from its start or from `resumed` on.
pub(crate) fn run<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &mut P,
    stages: &mut SftStages<P>,
    resumed: Option<&Checkpoint>,
) -> Result<(), StageError> {
    if stages.demonstrations.is_empty() {
        return pass_over(ctx);
    }
    stages.trainer.begin_phase(policy)?;
    if let Some(checkpoint) = resumed {
        stages.trainer.load(&checkpoint.dir.join("optimizer"))?;
    }
    let mut course = validation::resume(ctx, stages.validation.as_ref(), resumed)?;
    let mut order = Shuffle::new(stages.demonstrations.len(), ctx.phase_seed());
    if resumed.is_none() && stages.steps > 0 {
        let mut first = batch(stages, &mut order, 0);
        first.truncate(EXAMINED);
        let learning = stages.trainer.examine(policy, &first)?;
        if !learning.is_null() {
            ctx.store.event("preflight", json!({"phase": ctx.phase, "learning": learning}))?;
        }
    }
    loop {
        let turn = ctx
            .check_stop()
            .and_then(|()| validation::turn(ctx, policy, stages.validation.as_mut(), &mut course));
        match turn {
            Ok(Verdict::GoOn) if ctx.cursor.step < stages.steps => {}
            Ok(_) => break,
            Err(error) => {
                if matches!(error, StageError::Interrupted) {
                    save(ctx, policy, stages, &course)?;
                }
                return Err(error);
            }
        }
        let mut clock = Stopwatch::start(ctx.peers);
        let batch = batch(stages, &mut order, ctx.cursor.step);
        let mut metrics = stages.trainer.update(policy, &batch)?;
        check_finite(&metrics, ctx.cursor.step + 1)?;
        metrics.set("sft/epoch", epochs(stages, ctx.cursor.step + 1));
        clock.lap("update");
        ctx.trained(&metrics, &clock.stop(ctx.peers)?)?;
        if ctx.checkpoint_due() {
            save(ctx, policy, stages, &course)?;
        }
    }
    validation::end(ctx, policy, stages.validation.as_ref(), &course)
}

/// A rejection phase may keep nothing after hours of training, which are not to end without a model and its evaluation.
fn pass_over(ctx: &mut Context<'_>) -> Result<(), StageError> {
    ctx.store.event("nothing_to_imitate", json!({"phase": ctx.phase}))?;
    ctx.observer.message(&format!(
        "phase `{}` is passed over: there is nothing to imitate; a rejection phase that keeps nothing wants a lower threshold \
         or more samples",
        ctx.phase
    ));
    Ok(())
}

fn save<P: Checkpointed>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &SftStages<P>,
    course: &Course,
) -> Result<(), StageError> {
    let trainer: &dyn Checkpointed = stages.trainer.as_ref();
    let mut states = json!({});
    if stages.validation.is_some() {
        states["validation"] = course.save();
    }
    ctx.checkpoint(&[("policy", policy), ("optimizer", trainer)], &states)?;
    validation::saved(ctx, stages.validation.as_ref(), course)
}

fn batch<P: ?Sized>(stages: &SftStages<P>, order: &mut Shuffle, done: u64) -> Vec<Demonstration> {
    let first = done * stages.batch_size as u64;
    (first..first + stages.batch_size as u64)
        .map(|position| stages.demonstrations[order.at(position)].clone())
        .collect()
}

/// Passes over the data after `done` steps.
fn epochs<P: ?Sized>(stages: &SftStages<P>, done: u64) -> f64 {
    (done * stages.batch_size as u64) as f64 / stages.demonstrations.len() as f64
}

/// Endless positions to indices: a new permutation of `n` for every epoch.
struct Shuffle {
    n: usize,
    seed: Seed,
    epoch: Option<u64>,
    permutation: Vec<usize>,
}

impl Shuffle {
    fn new(n: usize, seed: Seed) -> Self {
        Self { n, seed: seed.at("shuffle"), epoch: None, permutation: Vec::new() }
    }

    fn at(&mut self, position: u64) -> usize {
        let epoch = position / self.n as u64;
        if self.epoch != Some(epoch) {
            self.permutation = (0..self.n).collect();
            self.permutation.shuffle(&mut self.seed.at(epoch).rng());
            self.epoch = Some(epoch);
        }
        self.permutation[(position % self.n as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_another_permutation_and_can_be_entered_anywhere() {
        let mut order = Shuffle::new(7, Seed::new(1));
        let positions: Vec<usize> = (0..21).map(|position| order.at(position)).collect();
        for epoch in positions.chunks(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        }
        assert_ne!(positions[..7], positions[7..14]);
        assert_eq!(Shuffle::new(7, Seed::new(1)).at(17), positions[17]);
    }
}
