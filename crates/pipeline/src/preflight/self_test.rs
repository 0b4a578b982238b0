//! Whether the reward tells right from wrong, without a policy.

use std::collections::BTreeMap;

use reft_core::{Completion, Demonstration, Reward, Sample, StageError};
use serde::Serialize;

use super::{Miss, PreflightError, error::nearest};

/// What the solutions of one form and task are paid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SelfTest {
    /// Samples scored.
    pub samples: usize,
    /// Mean over the samples of what their own solution is paid.
    pub own: f64,
    /// Samples whose own solution is not paid in full: no answer to them will be. 0 of a reward without a part `accuracy`.
    pub unpaid: usize,
    /// Mean of the part `format` for the samples' own solutions; none of a reward without one.
    pub format: Option<f64>,
    /// Mean over the samples of what another sample's different solution is paid; none when all solutions are equal.
    pub shuffled: Option<f64>,
}

/// Mean accuracy that a data set's own solutions must have: some may be broken, not all.
const OWN_AT_LEAST: f64 = 0.9;
/// Mean format that right answers in the asked form must have.
const FORMAT_AT_LEAST: f64 = 0.9;
/// Share of its own solutions' pay that other samples' solutions must fall short by: overlapping boxes and classes are
/// paid a part of it, a reward that pays everybody pays all of it.
const FALL_OF_ACCURACY: f64 = 0.2;
/// The same where the reward has no part `accuracy`: it may pay most for something else.
const FALL_OF_TOTAL: f64 = 0.05;

/// Scores each solution as an answer to its own question, and to another of the same form and task.
///
/// Counted is the part `accuracy`; of a reward without one, the total. Own solutions must be paid near the top (where
/// that is known: an accuracy of 1), other samples' clearly less. The result is by form and task.
pub fn self_test(
    reward: &dyn Reward,
    solutions: &[Demonstration],
) -> Result<BTreeMap<String, SelfTest>, StageError> {
    let mut kinds: BTreeMap<String, Vec<&Demonstration>> = BTreeMap::new();
    for solution in solutions {
        let sample = &solution.sample;
        kinds.entry(format!("{} {}", sample.form, sample.task)).or_default().push(solution);
    }
    kinds.into_iter().map(|(kind, of_kind)| Ok((kind.clone(), test_kind(reward, kind, &of_kind)?))).collect()
}

fn test_kind(
    reward: &dyn Reward,
    kind: String,
    solutions: &[&Demonstration],
) -> Result<SelfTest, StageError> {
    let mut own = Tally::default();
    let mut others = Tally::default();
    for (i, solution) in solutions.iter().enumerate() {
        let sample = &solution.sample;
        own.add(reward, sample, &solution.completion)?;
        let next = (1..solutions.len()).map(|k| solutions[(i + k) % solutions.len()]);
        if let Some(other) = next.into_iter().find(|other| other.sample.solution != sample.solution) {
            others.add(reward, sample, &other.completion)?;
        }
    }

    let mean = own.mean();
    let unpaid = own.scored.iter().filter(|miss| own.is_accuracy && miss.reward < 1.0).count();
    if own.is_accuracy && mean < OWN_AT_LEAST {
        let misses = own.scored.into_iter().filter(|miss| miss.reward < 1.0).collect();
        return Err(PreflightError::Solutions { kind, mean, misses: nearest(misses) }.into());
    }
    let format = own.format();
    if let Some(mean) = format.filter(|&mean| mean < FORMAT_AT_LEAST) {
        let unpaid = own.scored.into_iter().zip(own.formats).filter(|(_, format)| *format < 1.0);
        let misses = nearest(unpaid.map(|(miss, _)| miss).collect());
        return Err(PreflightError::Format { kind, mean, misses }.into());
    }
    let shuffled = (!others.scored.is_empty()).then(|| others.mean());
    let fall = if own.is_accuracy { FALL_OF_ACCURACY } else { FALL_OF_TOTAL };
    match shuffled {
        Some(shuffled) if shuffled > mean - fall * mean.abs() => {
            Err(PreflightError::Shuffled { kind, own: mean, shuffled, misses: nearest(others.scored) }.into())
        }
        _ => Ok(SelfTest { samples: solutions.len(), own: mean, unpaid, format, shuffled }),
    }
}

/// Answers and what they were paid.
#[derive(Default)]
struct Tally {
    scored: Vec<Miss>,
    /// The part `format` of each; empty for a reward without one.
    formats: Vec<f64>,
    is_accuracy: bool,
}

impl Tally {
    fn add(&mut self, reward: &dyn Reward, sample: &Sample, answer: &str) -> Result<(), StageError> {
        let parts = reward.score_parts(sample, &Completion::from_text(answer))?;
        if let Some(reason) = parts.outcome.reason() {
            let message =
                format!("the reward has no score for a right answer, so training would be blind: {reason}");
            return Err(StageError::sample(&sample.id, message));
        }
        let accuracy = parts.part("accuracy");
        self.is_accuracy = accuracy.is_some();
        self.formats.extend(parts.part("format").map(f64::from));
        self.scored.push(Miss::new(sample, answer, f64::from(accuracy.unwrap_or(parts.total))));
        Ok(())
    }

    fn format(&self) -> Option<f64> {
        let sum: f64 = self.formats.iter().sum();
        (!self.formats.is_empty()).then(|| sum / self.formats.len() as f64)
    }

    fn mean(&self) -> f64 {
        self.scored.iter().map(|miss| miss.reward).sum::<f64>() / self.scored.len().max(1) as f64
    }
}
