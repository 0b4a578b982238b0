//! Why a phase does not start.

use std::fmt;

use reft_core::StageError;

/// Why a phase does not start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PreflightError {
    /// Solutions are not paid.
    #[error(
        "the reward gives the solutions of `{kind}` samples themselves a mean accuracy of {mean:.2}, which should be \
         near 1: they are not in the form that the reward reads, so no answer would be paid{}{OVERRIDE}",
        list(misses)
    )]
    Solutions {
        /// Form and task.
        kind: String,
        /// Mean accuracy.
        mean: f64,
        /// The solutions that were paid most without being paid in full.
        misses: Vec<Miss>,
    },
    /// Other samples' solutions are paid as well.
    #[error(
        "the reward pays the solutions of other `{kind}` samples {shuffled:.2} on average, a sample's own {own:.2}: \
         it does not tell right from wrong{}{OVERRIDE}",
        list(misses)
    )]
    Shuffled {
        /// Form and task.
        kind: String,
        /// Mean reward of the samples' own solutions.
        own: f64,
        /// Mean reward of other samples' solutions.
        shuffled: f64,
        /// The wrong answers that were paid most.
        misses: Vec<Miss>,
    },
    /// Right answers in the asked form are not paid for their format.
    #[error(
        "the reward gives right answers to `{kind}` questions, written as the prompt asks, a mean format of {mean:.2}, \
         which should be near 1: it wants another form of answer than the question{}{OVERRIDE}",
        list(misses)
    )]
    Format {
        /// Form and task.
        kind: String,
        /// Mean format.
        mean: f64,
        /// Right answers that were not paid for their format.
        misses: Vec<Miss>,
    },
    /// The policy's answers teach nothing.
    #[error(
        "the answers to all {questions} questions asked before training are paid equally within each group ({right} \
         all right, {wrong} all wrong, {truncated:.0} % of the answers cut), so there is nothing to learn: take other \
         questions, an easier form first, a higher temperature, or look why these are not paid{}{OVERRIDE}",
        list(misses)
    )]
    NoSignal {
        /// Questions asked.
        questions: usize,
        /// Groups in which every answer is right.
        right: usize,
        /// Groups in which every answer is wrong.
        wrong: usize,
        /// Percentage of answers that the length limit cut.
        truncated: f64,
        /// The answers that were paid most without being right.
        misses: Vec<Miss>,
    },
}

const OVERRIDE: &str = "\nset `preflight.enabled = false` in the phase to start anyway";

/// An answer that came near.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// Whose question.
    pub sample: String,
    /// The right answer.
    pub solution: String,
    /// The end of the answer given.
    pub answer: String,
    /// What it was paid.
    pub reward: f64,
}

impl Miss {
    /// The last characters of an answer say most: the final answer, or where it was cut.
    const SHOWN: usize = 160;

    pub(super) fn new(sample: &reft_core::Sample, answer: &str, reward: f64) -> Self {
        let skip = answer.chars().count().saturating_sub(Self::SHOWN);
        let tail: String = answer.chars().skip(skip).collect();
        Self {
            sample: sample.id.to_string(),
            solution: sample.solution.clone(),
            answer: if skip > 0 { format!("...{tail}") } else { tail },
            reward,
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pays {:.2}: {:?}, right is {:?}", self.sample, self.reward, self.answer, self.solution)
    }
}

/// The three best paid, best first; equal ones in the order given.
pub(super) fn nearest(mut misses: Vec<Miss>) -> Vec<Miss> {
    misses.sort_by(|a, b| b.reward.total_cmp(&a.reward));
    misses.truncate(3);
    misses
}

/// Misses as the end of a message.
pub(crate) fn list(misses: &[Miss]) -> String {
    if misses.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = misses.iter().map(|miss| format!("\n  {miss}")).collect();
    format!("; nearest:{}", lines.concat())
}

impl From<PreflightError> for StageError {
    fn from(error: PreflightError) -> Self {
        Self::other("preflight", error)
    }
}
