//! Two sets of predictions on the same questions.

use std::fmt;

use reft_core::{GradedGroup, Mark};
use serde::{Deserialize, Serialize};

use crate::{EvalError, stats::sign_test};

/// How two sets of first answers differ, question by question (McNemar 1947, exact).
///
/// Questions that both have right or both have wrong say nothing about the difference, so a paired comparison sees
/// differences that two overlapping intervals hide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Questions.
    pub questions: usize,
    /// Both right.
    pub both: usize,
    /// Only the first set right.
    pub only_first: usize,
    /// Only the second set right.
    pub only_second: usize,
    /// Both wrong.
    pub neither: usize,
    /// Accuracy of the second set minus that of the first.
    pub gain: f64,
    /// Chance of a split at least this uneven if neither set were better.
    pub p_value: f64,
}

/// Compares the first answer to each question of two sets; both must hold the same questions in the same order.
pub fn compare(first: &[GradedGroup], second: &[GradedGroup]) -> Result<Paired, EvalError> {
    let id = |set: &[GradedGroup], at: usize| {
        set.get(at).map_or_else(|| "nothing".to_owned(), |group| group.group.sample.id.to_string())
    };
    let longest = first.len().max(second.len());
    if let Some(at) = (0..longest).find(|&at| id(first, at) != id(second, at)) {
        let (left, right) = (id(first, at), id(second, at));
        return Err(EvalError::DifferentQuestions { number: at + 1, left, right });
    }
    let right = |group: &GradedGroup| group.marks.first().is_some_and(Mark::is_right);
    Ok(Paired::new(first.iter().zip(second).map(|(a, b)| (right(a), right(b)))))
}

impl Paired {
    /// From whether the first and the second set have each question right.
    pub fn new(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let (mut both, mut only_first, mut only_second, mut neither) = (0_usize, 0_usize, 0_usize, 0_usize);
        for pair in pairs {
            match pair {
                (true, true) => both += 1,
                (true, false) => only_first += 1,
                (false, true) => only_second += 1,
                (false, false) => neither += 1,
            }
        }
        let questions = both + only_first + only_second + neither;
        Self {
            questions,
            both,
            only_first,
            only_second,
            neither,
            gain: (only_second as f64 - only_first as f64) / questions.max(1) as f64,
            p_value: sign_test(only_first, only_second),
        }
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:+.1} points, p = {:.3} (both right {}, only before {}, only now {}, neither {})",
            100.0 * self.gain,
            self.p_value,
            self.both,
            self.only_first,
            self.only_second,
            self.neither
        )
    }
}
