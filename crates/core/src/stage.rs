//! The stage traits. All are object-safe; each has as few required methods as it can.

use std::{path::Path, sync::Arc};

use serde_json::Value;

use crate::{
    Completion, Demonstration, GradedGroup, Group, JudgedGroup, Judgement, Mark, Metrics, RewardParts,
    Sample, SamplingParams, ScoredGroup, StageError, Verdict,
};

/// Small state that a checkpoint keeps as JSON. The defaults suit a stage without state.
pub trait Stateful {
    /// The state, as it is before the next call.
    fn save(&self) -> Result<Value, StageError> {
        Ok(Value::Null)
    }

    /// Restores what [`Stateful::save`] returned.
    fn load(&mut self, _state: &Value) -> Result<(), StageError> {
        Ok(())
    }
}

/// Large state that a checkpoint keeps as files in a folder: weights, optimizer moments.
///
/// The store calls `save` into an empty temporary folder that it syncs and renames, so an implementation just writes.
pub trait Checkpointed {
    /// Brings together on rank 0 what is divided among ranks, for the `save` that follows there. Called on all ranks.
    fn gather(&self) -> Result<(), StageError> {
        Ok(())
    }

    /// Writes files into `dir`.
    fn save(&self, dir: &Path) -> Result<(), StageError>;

    /// Restores from the files in `dir`, exactly: the next update gives the same bits.
    fn load(&mut self, dir: &Path) -> Result<(), StageError>;

    /// Writes the final files of a run into `dir`, for other programs.
    fn export(&self, dir: &Path) -> Result<(), StageError> {
        self.save(dir)
    }

    /// A number that differs where what would be saved does: ranks whose weights have drifted apart are told by it. None is
    /// not compared.
    fn digest(&self) -> Option<u64> {
        None
    }
}

/// Decides which samples come next. Called once a step with `next_batch` (again while a [`Refill`] asks for more), then
/// once with `observe`, before the update. Before the first step a preflight may draw a batch, call `adjust`, and restore the
/// state of before.
pub trait Curriculum: Stateful + Send {
    /// `n` samples for step `step` (counted from 0 within the phase). An empty first batch ends the phase.
    fn next_batch(&mut self, step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError>;

    /// Changes how the step's answers are drawn, for curricula over lengths or group sizes. Called after `next_batch`.
    fn adjust(&self, _params: &mut SamplingParams) {}

    /// Sees every group of the step, rejected ones too.
    fn observe(&mut self, _groups: &[ScoredGroup]) {}

    /// Numbers for the step's metrics, named `curriculum/...`.
    fn metrics(&self) -> Metrics {
        Metrics::new()
    }
}

/// How far a long call is: called with (done, total) in the unit of the call, from the calling thread.
/// Returning `false` asks the stage to stop early with [`StageError::Interrupted`].
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize) -> bool;

/// Answers samples. `P` is the policy it samples from; a remote server uses `()`.
pub trait RolloutEngine<P: ?Sized>: Send {
    /// One group of `params.group_size` completions per sample, in the order of `samples`.
    /// Progress counts finished completions.
    fn generate(
        &mut self,
        policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError>;

    /// How many updates of the policy its last answers are behind; 0 where the policy itself has answered.
    fn lag(&self) -> u64 {
        0
    }

    /// Whether it can answer while the policy learns. Then the loop draws the next step's questions before an update and gives
    /// them to [`RolloutEngine::begin`].
    fn runs_ahead(&self) -> bool {
        false
    }

    /// Begins to answer, by the policy as it is now, what [`RolloutEngine::generate`] will be asked next: with equal samples
    /// and parameters it gives these answers. Returns at once; a failure may also be told by `generate`.
    fn begin(
        &mut self,
        _policy: &P,
        _samples: &[Arc<Sample>],
        _params: &SamplingParams,
    ) -> Result<(), StageError> {
        Ok(())
    }
}

/// Scores one completion. Bounded, deterministic, safe to call from many threads.
pub trait Reward: Send + Sync {
    /// A short name for metrics and columns.
    fn name(&self) -> &str;

    /// The reward of one completion. Malformed model output scores 0; `Err` means the sample is broken.
    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError>;

    /// The reward with its parts, for the logs. The default has one part: itself.
    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let total = self.score(sample, completion)?;
        Ok(RewardParts::single(self.name(), total))
    }

    /// Whether [`Reward::score_group`] compares the completions of a group, so that they cannot be scored apart.
    /// Decides whether a time limit applies to each completion or to the group.
    fn compares(&self) -> bool {
        false
    }

    /// The rewards of a group, for rewards that compare completions. The default scores one by one.
    fn score_group(&self, group: &Group) -> Result<Vec<RewardParts>, StageError> {
        group.completions.iter().map(|completion| self.score_parts(&group.sample, completion)).collect()
    }
}

/// Turns rewards into advantages.
pub trait AdvantageEstimator: Send + Sync {
    /// `[G]` rewards of one group to `[G]` advantages.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32>;

    /// Rewards of every group of a step to advantages, called once a step, or once for each round of a step that is
    /// refilled. The default takes the totals group by group; estimators that compare groups, or the parts of rewards,
    /// replace it.
    fn step_advantages(&self, groups: &[Vec<RewardParts>]) -> Vec<Vec<f32>> {
        let totals =
            |rewards: &Vec<RewardParts>| rewards.iter().map(|reward| reward.total).collect::<Vec<_>>();
        groups.iter().map(|rewards| self.advantages(&totals(rewards))).collect()
    }
}

/// `[groups][G]` advantages of the rewards that are not left out; those that are get 0.
pub fn step_advantages(estimator: &dyn AdvantageEstimator, groups: &[Vec<RewardParts>]) -> Vec<Vec<f32>> {
    if !groups.iter().flatten().any(|reward| reward.left_out) {
        return estimator.step_advantages(groups);
    }
    let counted = |group: &&Vec<RewardParts>| group.iter().any(|reward| !reward.left_out);
    let scores: Vec<Vec<RewardParts>> = groups
        .iter()
        .filter(counted)
        .map(|group| group.iter().filter(|reward| !reward.left_out).cloned().collect())
        .collect();
    let mut found = estimator.step_advantages(&scores).into_iter();
    let spread = |group: &Vec<RewardParts>| {
        if group.iter().all(|reward| reward.left_out) {
            return vec![0.0; group.len()];
        }
        let own = found.next().unwrap_or_default();
        let expected = group.iter().filter(|reward| !reward.left_out).count();
        if own.len() != expected {
            // The caller tells an estimator that gives a wrong number.
            return own;
        }
        let mut own = own.into_iter();
        group
            .iter()
            .map(|reward| if reward.left_out { 0.0 } else { own.next().unwrap_or_default() })
            .collect()
    };
    groups.iter().map(spread).collect()
}

/// Decides whether a group is trained on. The reason becomes a column on disk and a counter in the metrics.
pub trait GroupFilter: Stateful + Send {
    /// Called once per group, in order.
    fn judge(&mut self, group: &ScoredGroup) -> Verdict;
}

/// How far a step is with its groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Groups that the step wants to train on.
    pub wanted: usize,
    /// Rollout calls so far.
    pub rounds: u64,
    /// Questions asked so far.
    pub asked: usize,
    /// Groups that the filters admitted so far; may exceed `wanted`.
    pub admitted: usize,
}

/// Decides how many questions a step asks, so that it still has enough groups when filters reject some.
pub trait Refill: Stateful + Send {
    /// How many questions to ask next; 0 trains on what there is. Called before each rollout of a step.
    fn ask(&mut self, filled: &Filled) -> usize;

    /// Sees how the step ended, once.
    fn observe(&mut self, _filled: &Filled) {}

    /// Numbers for the step's metrics, named `refill/...`.
    fn metrics(&self) -> Metrics {
        Metrics::new()
    }
}

/// Moves the policy's weights by groups of scored answers.
pub trait PolicyOptimizer<P: ?Sized>: Checkpointed + Send {
    /// The estimator that the phase takes advantages with, for optimizers that change rewards and take them again. Called
    /// once, before anything else.
    fn share_advantage(&mut self, _advantage: &Arc<dyn AdvantageEstimator>) {}

    /// Called when a phase starts, and when it is resumed, before its state is restored: takes the KL reference and starts
    /// with no moments.
    fn begin_phase(&mut self, policy: &P) -> Result<(), StageError>;

    /// Looks, before the first step of a phase, whether the policy can learn from answers like these, and stops the run
    /// where it cannot; weights stay as they are. Returns what it found, for the record. The default finds nothing.
    fn examine(&mut self, _policy: &mut P, _answers: &[Demonstration]) -> Result<Value, StageError> {
        Ok(Value::Null)
    }

    /// One step over the admitted groups. Returns `loss`, `kl`, ... named `grpo/...`.
    /// [`StageError::NonFinite`] says that an update was left out and that training may go on; the step counts.
    fn update(&mut self, policy: &mut P, groups: &[ScoredGroup]) -> Result<Metrics, StageError>;

    /// A step to which no group was admitted: what follows the course of a phase (learning rate, KL weight, a moving
    /// reference) advances as after an update. The default does nothing.
    fn pass_step(&mut self, _policy: &P) {}

    /// Looks for where a batch that could not be trained on becomes non-finite. Called right after a
    /// [`StageError::NonFinite`] with the same groups; kept with them. The default finds nothing.
    fn diagnose(&mut self, _policy: &mut P, _groups: &[ScoredGroup]) -> Result<Value, StageError> {
        Ok(Value::Null)
    }
}

/// Moves the policy's weights towards given answers (supervised fine-tuning).
pub trait SupervisedTrainer<P: ?Sized>: Checkpointed + Send {
    /// As [`PolicyOptimizer::begin_phase`].
    fn begin_phase(&mut self, _policy: &P) -> Result<(), StageError> {
        Ok(())
    }

    /// As [`PolicyOptimizer::examine`].
    fn examine(&mut self, _policy: &mut P, _answers: &[Demonstration]) -> Result<Value, StageError> {
        Ok(Value::Null)
    }

    /// One step over a batch. Returns `loss`, ... named `sft/...`.
    fn update(&mut self, policy: &mut P, batch: &[Demonstration]) -> Result<Metrics, StageError>;
}

/// Scores completions for rejection sampling, 0 to 100.
pub trait Judge: Send + Sync {
    /// A short name for files.
    fn name(&self) -> &str;

    /// The judgement of one completion.
    fn judge(&self, sample: &Sample, completion: &Completion) -> Result<Judgement, StageError>;
}

/// Decides which judged answers rejection sampling keeps.
pub trait Selector: Send + Sync {
    /// `[N]` verdicts, one per completion of the group: `Admit` keeps it as a demonstration.
    /// The reasons of the others (`below_threshold`, `duplicate`, ...) become a column on disk and counters in the metrics.
    fn select(&self, group: &JudgedGroup) -> Vec<Verdict>;
}

/// A set of questions with its own way to grade.
pub trait Benchmark: Send + Sync {
    /// A short name for files and tables.
    fn name(&self) -> &str;

    /// The questions.
    fn samples(&self) -> &[Arc<Sample>];

    /// The mark of one completion.
    fn grade(&self, sample: &Sample, completion: &Completion) -> Result<Mark, StageError>;

    /// What `report.json` says, from all graded questions in the order of [`Benchmark::samples`].
    /// The default has the mean score alone; crate `eval` adds tasks and intervals.
    fn report(&self, graded: &[GradedGroup]) -> Result<Value, StageError> {
        let scores: Vec<f64> = graded.iter().flat_map(GradedGroup::scores).collect();
        let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        Ok(serde_json::json!({
            "benchmark": self.name(),
            "questions": graded.len(),
            "accuracy": mean,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct AboveMean;

    impl AdvantageEstimator for AboveMean {
        fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
            let mean = rewards.iter().sum::<f32>() / rewards.len() as f32;
            rewards.iter().map(|reward| reward - mean).collect()
        }
    }

    #[test]
    fn rewards_that_are_left_out_take_no_part() {
        let of = |total: f32| RewardParts { total, ..RewardParts::default() };
        let out = || RewardParts { left_out: true, ..of(0.0) };
        let groups = [vec![of(1.0), out(), of(3.0)], vec![out(), out()], vec![of(2.0), of(4.0)]];
        let found = step_advantages(&AboveMean, &groups);
        assert_eq!(found, [vec![-1.0, 0.0, 1.0], vec![0.0, 0.0], vec![-1.0, 1.0]]);
    }
}
