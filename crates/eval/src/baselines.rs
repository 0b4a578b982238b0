//! What one scores on a short-answer benchmark without looking at an image.
//!
//! Both baselines are read off the benchmark's own answers, as if one had trained on the test questions. They are
//! therefore upper bounds for guesses of their kind, and a model that does not beat them has shown no use of the image.

use std::collections::BTreeMap;

use reft_core::Sample;
use reft_reward::{normalize_text, solution};
use serde::{Deserialize, Serialize};

/// The two blind baselines of a set of questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// One answer to everything.
    pub majority: Majority,
    /// The accuracy of the most frequent answer to each wording of a question.
    pub per_question: f64,
    /// Distinct wordings.
    pub wordings: usize,
    /// How the baselines were made, for whoever reads the report.
    pub note: String,
}

/// The most frequent answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Majority {
    /// The answer.
    pub answer: String,
    /// Its share of the questions.
    pub accuracy: f64,
}

impl Baselines {
    /// The baselines of a list of questions and right answers; none for an empty list.
    pub fn new<'a>(questions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut overall = Counts::default();
        let mut by_wording: BTreeMap<String, Counts> = BTreeMap::new();
        for (question, answer) in questions {
            let answer = normalize_text(answer);
            by_wording.entry(normalize_text(question)).or_default().add(answer.clone());
            overall.add(answer);
        }
        let (answer, count) = overall.most_frequent()?;
        let hits: usize = by_wording.values().filter_map(|counts| Some(counts.most_frequent()?.1)).sum();
        let share = |count: usize| count as f64 / overall.total() as f64;
        Some(Self {
            majority: Majority { answer: answer.to_owned(), accuracy: share(count) },
            per_question: share(hits),
            wordings: by_wording.len(),
            note: "read off the test answers themselves: upper bounds for guessing without the image"
                .to_owned(),
        })
    }

    /// The baselines of samples.
    pub fn of_samples<S: AsRef<Sample>>(samples: &[S]) -> Option<Self> {
        Self::new(samples.iter().map(|sample| {
            let sample = sample.as_ref();
            (sample.problem.as_str(), solution(sample))
        }))
    }
}

#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, answer: String) {
        *self.0.entry(answer).or_default() += 1;
    }

    fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Ties go to the first in the alphabet.
    fn most_frequent(&self) -> Option<(&str, usize)> {
        let best = self.0.iter().rev().max_by_key(|(_, count)| **count)?;
        Some((best.0, *best.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_by_hand() {
        let questions = [
            ("What colour?", "red"),
            ("what colour?", "Red"),
            ("What colour?", "blue"),
            ("Is it round?", "yes"),
            ("Is it round?", "no"),
        ];
        let baselines = Baselines::new(questions).unwrap();
        assert_eq!(baselines.majority, Majority { answer: "red".into(), accuracy: 0.4 });
        // red, red of three; one of two.
        assert_eq!((baselines.per_question, baselines.wordings), (0.6, 2));
        assert_eq!(Baselines::new([]), None);
        assert_eq!(Baselines::new([("?", "b"), ("?", "a")]).unwrap().majority.answer, "a");
    }
}
