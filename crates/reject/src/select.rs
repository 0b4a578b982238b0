//! Best-of-N selection.

use std::{cmp::Ordering, collections::HashSet};

use reft_core::{JudgedGroup, Selector, Verdict};

/// Keeps the best answers of a question that reach a threshold.
///
/// Best first by score; equal scores are ordered shorter first, then by their index in the group. An answer with the
/// same text as a better one is dropped. The reasons are `below_threshold`, `duplicate` and `not_best`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestOf {
    /// Score to reach, 0 to 100; reaching it is enough.
    pub threshold: f32,
    /// Answers to keep per question.
    pub keep: usize,
}

impl BestOf {
    /// `[N]` verdicts from `[N]` texts and scores.
    pub fn verdicts(&self, answers: &[(&str, f32)]) -> Vec<Verdict> {
        let mut ranking: Vec<usize> = (0..answers.len()).collect();
        ranking.sort_by(|&a, &b| rank(answers[a], answers[b]).then(a.cmp(&b)));

        let mut verdicts = vec![Verdict::Admit; answers.len()];
        let mut seen = HashSet::new();
        let mut kept = 0;
        for index in ranking {
            let (text, score) = answers[index];
            let reason = if score.is_nan() || score < self.threshold {
                "below_threshold"
            } else if !seen.insert(text.trim()) {
                "duplicate"
            } else if kept == self.keep {
                "not_best"
            } else {
                kept += 1;
                continue;
            };
            verdicts[index] = Verdict::Reject { reason: reason.to_owned() };
        }
        verdicts
    }
}

impl Selector for BestOf {
    fn select(&self, group: &JudgedGroup) -> Vec<Verdict> {
        let texts = group.group.completions.iter().map(|completion| completion.text.as_str());
        let answers: Vec<_> = texts.zip(group.judgements.iter().map(|judgement| judgement.score)).collect();
        self.verdicts(&answers)
    }
}

fn rank((text, score): (&str, f32), (other_text, other_score): (&str, f32)) -> Ordering {
    other_score.total_cmp(&score).then(text.chars().count().cmp(&other_text.chars().count()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(selector: BestOf, answers: &[(&str, f32)]) -> Vec<String> {
        let name = |verdict| match verdict {
            Verdict::Admit => "kept".to_owned(),
            Verdict::Reject { reason } => reason,
        };
        selector.verdicts(answers).into_iter().map(name).collect()
    }

    #[test]
    fn selection_by_hand() {
        let best = BestOf { threshold: 85.0, keep: 1 };
        assert_eq!(
            names(best, &[("a", 84.9), ("b", 85.0), ("c", 90.0)]),
            ["below_threshold", "not_best", "kept"]
        );
        // Equal scores: shorter first, then earlier.
        assert_eq!(
            names(best, &[("long", 90.0), ("b", 90.0), ("c", 90.0)]),
            ["not_best", "kept", "not_best"]
        );
        let two = BestOf { threshold: 0.0, keep: 2 };
        assert_eq!(
            names(two, &[("a", 90.0), ("a ", 90.0), ("b", 80.0), ("c", 70.0)]),
            ["kept", "duplicate", "kept", "not_best"]
        );
        assert_eq!(names(best, &[("a", f32::NAN)]), ["below_threshold"]);
        assert!(names(best, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn kept_answers_are_the_best(scores in prop::collection::vec(0.0_f32..100.0, 0..12), keep in 0_usize..4) {
            let texts: Vec<String> = (0..scores.len()).map(|i| i.to_string()).collect();
            let answers: Vec<_> = texts.iter().map(String::as_str).zip(scores.iter().copied()).collect();
            let verdicts = BestOf { threshold: 50.0, keep }.verdicts(&answers);
            let admitted = |admit: bool| {
                let scores = scores.iter().zip(&verdicts);
                scores.filter(move |(_, v)| (**v == Verdict::Admit) == admit).map(|(s, _)| *s).collect::<Vec<_>>()
            };
            let above = scores.iter().filter(|&&score| score >= 50.0).count();
            prop_assert_eq!(admitted(true).len(), above.min(keep));
            let worst_kept = admitted(true).into_iter().fold(f32::INFINITY, f32::min);
            prop_assert!(keep == 0 || admitted(false).into_iter().all(|score| score <= worst_kept || score < 50.0));
        }
    }
}
