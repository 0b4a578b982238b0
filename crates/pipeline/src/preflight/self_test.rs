//! Whether the reward tells right from wrong, without a policy.

use std::collections::BTreeMap;

use reft_core::{Completion, Demonstration, Form, Progress, Reward, Sample, StageError, Task};
use serde::Serialize;

use super::{Miss, PreflightError, error::nearest};
use crate::parallel;

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
/// Share of the pay that they must fall short by where the reward has no part `accuracy`: it may pay most for something else.
const FALL_OF_TOTAL: f64 = 0.05;

/// Scores each solution as an answer to its own question, and to another of the same form and task; on all threads of the
/// run, some at a time. `progress` hears how many answers are scored of how many, and may end the test.
///
/// Counted is the part `accuracy`; of a reward without one, the total. Own solutions must be paid near the top (where
/// that is known: an accuracy of 1), other samples' clearly less. The result is by form and task.
pub fn self_test(
    reward: &dyn Reward,
    solutions: &[Demonstration],
    progress: Progress<'_>,
) -> Result<BTreeMap<String, SelfTest>, StageError> {
    let answers = answers(solutions);
    let chunk = 4 * rayon::current_num_threads();
    let mut kinds: BTreeMap<String, [Tally; 2]> = BTreeMap::new();
    for (i, answers_here) in answers.chunks(chunk).enumerate() {
        if !progress(i * chunk, answers.len()) {
            return Err(StageError::Interrupted);
        }
        let scored = parallel::try_map(answers_here, |answer| answer.score(reward))?;
        for (answer, scored) in answers_here.iter().zip(scored) {
            let sample = answer.sample;
            let [own, others] = kinds.entry(format!("{} {}", sample.form, sample.task)).or_default();
            if answer.is_own { own.add(scored) } else { others.add(scored) }
        }
    }
    progress(answers.len(), answers.len());
    kinds.into_iter().map(|(kind, [own, others])| Ok((kind.clone(), judge(kind, own, others)?))).collect()
}

/// An answer to a question: its own solution, or another question's.
struct Answer<'a> {
    sample: &'a Sample,
    text: &'a str,
    is_own: bool,
}

fn answers(solutions: &[Demonstration]) -> Vec<Answer<'_>> {
    let mut kinds: BTreeMap<(Form, Task), Vec<&Demonstration>> = BTreeMap::new();
    for solution in solutions {
        kinds.entry((solution.sample.form, solution.sample.task)).or_default().push(solution);
    }
    let mut answers = Vec::with_capacity(2 * solutions.len());
    for of_kind in kinds.values() {
        for (i, solution) in of_kind.iter().enumerate() {
            let sample: &Sample = &solution.sample;
            answers.push(Answer { sample, text: &solution.completion, is_own: true });
            let next = (1..of_kind.len()).map(|k| of_kind[(i + k) % of_kind.len()]);
            if let Some(other) = next.into_iter().find(|other| other.sample.solution != sample.solution) {
                answers.push(Answer { sample, text: &other.completion, is_own: false });
            }
        }
    }
    answers
}

fn judge(kind: String, own: Tally, others: Tally) -> Result<SelfTest, StageError> {
    let (samples, mean) = (own.scored.len(), own.mean());
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
        _ => Ok(SelfTest { samples, own: mean, unpaid, format, shuffled }),
    }
}

impl Answer<'_> {
    fn score(&self, reward: &dyn Reward) -> Result<Scored, StageError> {
        let parts = reward.score_parts(self.sample, &Completion::from_text(self.text))?;
        if let Some(reason) = parts.outcome.reason() {
            let message =
                format!("the reward has no score for a right answer, so training would be blind: {reason}");
            return Err(StageError::sample(&self.sample.id, message));
        }
        let accuracy = parts.part("accuracy");
        Ok(Scored {
            miss: Miss::new(self.sample, self.text, f64::from(accuracy.unwrap_or(parts.total))),
            format: parts.part("format").map(f64::from),
            is_accuracy: accuracy.is_some(),
        })
    }
}

/// What an answer was paid.
struct Scored {
    miss: Miss,
    format: Option<f64>,
    is_accuracy: bool,
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
    fn add(&mut self, scored: Scored) {
        self.is_accuracy = scored.is_accuracy;
        self.formats.extend(scored.format);
        self.scored.push(scored.miss);
    }

    fn format(&self) -> Option<f64> {
        let sum: f64 = self.formats.iter().sum();
        (!self.formats.is_empty()).then(|| sum / self.formats.len() as f64)
    }

    fn mean(&self) -> f64 {
        self.scored.iter().map(|miss| miss.reward).sum::<f64>() / self.scored.len().max(1) as f64
    }
}
