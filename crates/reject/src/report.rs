//! What rejection sampling asked, got and kept.

use std::{collections::BTreeMap, fmt};

use reft_core::{JudgedGroup, Verdict};
use serde::{Deserialize, Serialize};

/// Bins of the histogram: ten points each, 100 in the last.
const BINS: usize = 10;

/// Counts of one task, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Questions asked.
    pub questions: usize,
    /// Answers sampled.
    pub answers: usize,
    /// Questions with at least one kept answer.
    pub questions_kept: usize,
    /// Kept answers.
    pub kept: usize,
}

/// What rejection sampling asked, got and kept. `Display` is a text table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// All questions.
    pub total: Tally,
    /// By task.
    pub tasks: BTreeMap<String, Tally>,
    /// Answers that were not kept, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// `[10]` answers by score: 0 to under 10, ..., 90 to 100.
    pub histogram: Vec<usize>,
}

impl Report {
    /// Counts judged groups with their verdicts.
    pub fn new(groups: &[(JudgedGroup, Vec<Verdict>)]) -> Self {
        let mut report = Self { histogram: vec![0; BINS], ..Self::default() };
        for (judged, verdicts) in groups {
            let scores: Vec<f32> = judged.judgements.iter().map(|judgement| judgement.score).collect();
            report.add(judged.group.sample.task.as_str(), &scores, verdicts);
        }
        report
    }

    fn add(&mut self, task: &str, scores: &[f32], verdicts: &[Verdict]) {
        let kept = verdicts.iter().filter(|verdict| **verdict == Verdict::Admit).count();
        for tally in [&mut self.total, self.tasks.entry(task.to_owned()).or_default()] {
            tally.questions += 1;
            tally.answers += verdicts.len();
            tally.questions_kept += usize::from(kept > 0);
            tally.kept += kept;
        }
        for verdict in verdicts {
            if let Verdict::Reject { reason } = verdict {
                *self.rejected.entry(reason.clone()).or_default() += 1;
            }
        }
        for score in scores {
            let bin = (score.clamp(0.0, 100.0) / 10.0) as usize;
            self.histogram[bin.min(BINS - 1)] += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>9} {:>9} {:>9} {:>9}", "task", "questions", "answers", "kept", "of them")?;
        let rows =
            self.tasks.iter().map(|(task, tally)| (task.as_str(), tally)).chain([("all", &self.total)]);
        for (task, tally) in rows {
            let share = 100.0 * tally.questions_kept as f64 / tally.questions.max(1) as f64;
            writeln!(
                f,
                "{task:<12} {:>9} {:>9} {:>9} {share:>8.1}%",
                tally.questions, tally.answers, tally.kept
            )?;
        }
        for (reason, count) in &self.rejected {
            writeln!(f, "not kept: {reason} {count}")?;
        }
        let most = self.histogram.iter().copied().max().unwrap_or(0).max(1);
        for (bin, count) in self.histogram.iter().enumerate() {
            let bar = "#".repeat((40 * count).div_ceil(most));
            writeln!(f, "score {:>3} to {:>3} {count:>8} {bar}", 10 * bin, 10 * (bin + 1))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let mut report = Report { histogram: vec![0; BINS], ..Report::default() };
        let reject = |reason: &str| Verdict::Reject { reason: reason.into() };
        report.add(
            "math",
            &[100.0, 84.9, 90.0],
            &[Verdict::Admit, reject("below_threshold"), reject("not_best")],
        );
        report.add("detection", &[0.0], &[reject("below_threshold")]);
        assert_eq!(report.total, Tally { questions: 2, answers: 4, questions_kept: 1, kept: 1 });
        assert_eq!(report.rejected["below_threshold"], 2);
        assert_eq!(report.histogram, [1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        let text = report.to_string();
        assert!(text.contains("math") && text.contains("50.0%"), "{text}");
    }
}
