//! Small stages that need no model: reward, advantage, curriculum, filter, refill, judge, selector, benchmark.

use std::sync::Arc;

use reft_core::{
    AdvantageEstimator, Benchmark, Completion, Curriculum, Filled, GroupFilter, Judge, JudgedGroup,
    Judgement, Mark, Refill, Reward, RewardParts, Sample, ScoredGroup, Selector, StageError, Stateful,
    Verdict,
};
use serde_json::{Value, json};

/// The answer of a completion of [`TablePolicy`](crate::TablePolicy), and whether it is in the asked format.
pub fn answer_of(completion: &str) -> (&str, bool) {
    completion
        .strip_prefix("<think>hm</think><answer>")
        .and_then(|rest| rest.strip_suffix("</answer>"))
        .map_or((completion, false), |answer| (answer, true))
}

/// 1 for the right answer plus 1 for the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToyReward;

impl Reward for ToyReward {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(self.score_parts(sample, completion)?.total)
    }

    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let (answer, tagged) = answer_of(&completion.text);
        let (accuracy, format) = (f32::from(answer == sample.solution), f32::from(tagged));
        Ok(RewardParts {
            total: accuracy + format,
            parts: vec![("accuracy".into(), accuracy), ("format".into(), format)],
            ..RewardParts::default()
        })
    }
}

/// `r - mean`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AboveMean;

impl AdvantageEstimator for AboveMean {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let mean = rewards.iter().sum::<f32>() / rewards.len().max(1) as f32;
        rewards.iter().map(|reward| reward - mean).collect()
    }
}

/// Leaves out groups whose advantages are all 0, and counts them: state that a resume must restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct SkipEqual {
    rejected: u64,
}

impl GroupFilter for SkipEqual {
    fn judge(&mut self, group: &ScoredGroup) -> Verdict {
        if group.advantages.iter().any(|&advantage| advantage != 0.0) {
            return Verdict::Admit;
        }
        self.rejected += 1;
        Verdict::Reject { reason: "zero_variance".into() }
    }
}

impl Stateful for SkipEqual {
    fn save(&self) -> Result<Value, StageError> {
        Ok(json!(self.rejected))
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.rejected = state.as_u64().ok_or_else(|| StageError::State {
            stage: "skip_equal",
            message: format!("`{state}` is not a count"),
        })?;
        Ok(())
    }
}

/// Asks the wanted number again while groups are missing, at most twice, and one question more for every step that
/// ended short: state that a resume must restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct AskAgain {
    more: usize,
}

impl Refill for AskAgain {
    fn ask(&mut self, filled: &Filled) -> usize {
        if filled.rounds == 2 || filled.admitted >= filled.wanted { 0 } else { filled.wanted + self.more }
    }

    fn observe(&mut self, filled: &Filled) {
        self.more += usize::from(filled.admitted < filled.wanted);
    }
}

impl Stateful for AskAgain {
    fn save(&self) -> Result<Value, StageError> {
        Ok(json!(self.more))
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.more = state.as_u64().ok_or_else(|| StageError::State {
            stage: "ask_again",
            message: format!("`{state}` is not a count"),
        })? as usize;
        Ok(())
    }
}

/// Samples in turn. Which one comes next also depends on what was answered, so a resume must restore it.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    samples: Vec<Arc<Sample>>,
    next: usize,
}

impl RoundRobin {
    /// Starts at the first sample.
    pub fn new(samples: Vec<Arc<Sample>>) -> Self {
        Self { samples, next: 0 }
    }
}

impl Curriculum for RoundRobin {
    fn next_batch(&mut self, _step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        let batch: Vec<_> = (self.next..self.next + n)
            .filter_map(|i| self.samples.get(i % self.samples.len().max(1)).cloned())
            .collect();
        self.next += batch.len();
        Ok(batch)
    }

    fn observe(&mut self, groups: &[ScoredGroup]) {
        // A step forward for every group with a full reward, so that the order depends on the outcome.
        self.next += groups.iter().filter(|group| group.totals().contains(&2.0)).count();
    }
}

impl Stateful for RoundRobin {
    fn save(&self) -> Result<Value, StageError> {
        Ok(json!(self.next))
    }

    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.next = state.as_u64().ok_or_else(|| StageError::State {
            stage: "round_robin",
            message: format!("`{state}` is not a position"),
        })? as usize;
        Ok(())
    }
}

/// 90 for the right answer, and 10 more for the format.
#[derive(Clone, Copy, Debug, Default)]
pub struct RightJudge;

impl Judge for RightJudge {
    fn name(&self) -> &'static str {
        "right"
    }

    fn judge(&self, sample: &Sample, completion: &Completion) -> Result<Judgement, StageError> {
        let (answer, tagged) = answer_of(&completion.text);
        let right = answer == sample.solution;
        Ok(Judgement {
            score: 90.0 * f32::from(right) + 10.0 * f32::from(tagged),
            reason: format!("right: {right}, tagged: {tagged}"),
        })
    }
}

/// Keeps the first best completion of a group when it reaches the threshold.
#[derive(Clone, Copy, Debug)]
pub struct BestAbove(pub f32);

impl Selector for BestAbove {
    fn select(&self, group: &JudgedGroup) -> Vec<Verdict> {
        let scores: Vec<f32> = group.judgements.iter().map(|j| j.score).collect();
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let winner = scores.iter().position(|&score| score == best && score >= self.0);
        let reject = |reason: &str| Verdict::Reject { reason: reason.to_owned() };
        (0..scores.len())
            .map(|i| match winner {
                Some(winner) if winner == i => Verdict::Admit,
                _ if scores[i] < self.0 => reject("below_threshold"),
                _ => reject("not_best"),
            })
            .collect()
    }
}

/// Exact answers, format aside.
#[derive(Clone, Debug)]
pub struct ToyBenchmark {
    /// A name for files.
    pub name: String,
    /// The questions.
    pub samples: Vec<Arc<Sample>>,
}

impl Benchmark for ToyBenchmark {
    fn name(&self) -> &str {
        &self.name
    }

    fn samples(&self) -> &[Arc<Sample>] {
        &self.samples
    }

    fn grade(&self, sample: &Sample, completion: &Completion) -> Result<Mark, StageError> {
        Ok(f32::from(answer_of(&completion.text).0 == sample.solution).into())
    }
}
