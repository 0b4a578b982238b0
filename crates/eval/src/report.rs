//! What is said about graded questions, as data and as text tables.

use std::{collections::BTreeMap, fmt};

use reft_core::{Form, Mark, Task};
use serde::{Deserialize, Serialize};

use crate::{Baselines, Interval, Paired, PublishedScore, pass_at_k, wilson};

/// The outcome of one benchmark. `Display` is a text table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Which benchmark.
    pub benchmark: String,
    /// Over all questions.
    pub overall: Score,
    /// By task and form.
    pub rows: Vec<ScoreRow>,
    /// What one scores without the image, for short-answer benchmarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baselines: Option<Baselines>,
    /// What a published benchmark says of itself: grader, prompt, its own table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<PublishedScore>,
    /// First answers beside those of an earlier evaluation of the same questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Paired>,
}

/// The score of one task in one form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// What is asked.
    pub task: Task,
    /// How it is asked.
    pub form: Form,
    /// The score.
    #[serde(flatten)]
    pub score: Score,
}

/// The score of a set of questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Questions.
    pub questions: usize,
    /// Answers; more than questions where each was answered several times.
    pub answers: usize,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Its 95 % interval (Wilson) over questions: several answers to one question are one observation.
    pub interval: Interval,
    /// Mean accuracy reward, with partial credit (class overlap, letters partly right).
    pub mean_reward: f64,
    /// Share of answers in the asked format.
    pub format: f64,
    /// Unbiased pass@k (Chen et al. 2021, arXiv 2107.03374) for every k up to the number of answers per question; empty
    /// for single answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pass_at: BTreeMap<usize, f64>,
    /// Share of questions whose most frequent answer is right, maj@G; none for single answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority: Option<f64>,
}

/// Sums that a [`Score`] is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// Per question: answers, and right ones.
    questions: Vec<(usize, usize)>,
    /// Questions whose most frequent answer is right.
    voted: usize,
    reward: f64,
    format: f64,
}

impl Marks {
    /// Adds one question: its marks, which of them the most frequent answer has, and the sums of its rewards and formats.
    pub(crate) fn add(&mut self, marks: &[Mark], vote: Option<usize>, reward: f64, format: f64) {
        let right = marks.iter().filter(|mark| mark.is_right()).count();
        self.questions.push((marks.len(), right));
        self.voted += usize::from(vote.and_then(|index| marks.get(index)).is_some_and(Mark::is_right));
        self.reward += reward;
        self.format += format;
    }

    pub(crate) fn score(&self) -> Score {
        let answered = self.questions.iter().filter(|(answers, _)| *answers > 0);
        let questions = answered.clone().count();
        let answers: usize = answered.clone().map(|(answers, _)| answers).sum();
        let right: usize = answered.clone().map(|(_, right)| right).sum();
        let shares: f64 = answered.map(|&(answers, right)| right as f64 / answers as f64).sum();
        let per_answer = |sum: f64| sum / answers.max(1) as f64;
        Score {
            questions,
            answers,
            accuracy: per_answer(right as f64),
            interval: wilson(shares, questions),
            mean_reward: per_answer(self.reward),
            format: per_answer(self.format),
            pass_at: self.pass_at(),
            majority: (self.smallest() > 1).then(|| self.voted as f64 / questions as f64),
        }
    }

    /// Answers to the question that has fewest.
    fn smallest(&self) -> usize {
        self.questions.iter().map(|(answers, _)| *answers).min().unwrap_or(0)
    }

    fn pass_at(&self) -> BTreeMap<usize, f64> {
        let smallest = self.smallest();
        if smallest < 2 {
            return BTreeMap::new();
        }
        (1..=smallest)
            .filter_map(|k| {
                let estimates: Option<Vec<f64>> =
                    self.questions.iter().map(|&(answers, right)| pass_at_k(answers, right, k)).collect();
                let estimates = estimates?;
                Some((k, estimates.iter().sum::<f64>() / estimates.len() as f64))
            })
            .collect()
    }
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The file has every k; a table has room for 2, 4, 8, .. and the last.
        let most = self.overall.pass_at.keys().copied().max().unwrap_or(0);
        let pass_at: Vec<usize> = (2..=most).filter(|k| k.is_power_of_two() || *k == most).collect();
        write!(
            f,
            "{:<22} {:>9} {:>9} {:>15} {:>8} {:>8}",
            self.benchmark, "questions", "accuracy", "95 %", "reward", "format"
        )?;
        for k in &pass_at {
            write!(f, " {:>8}", format!("pass@{k}"))?;
        }
        if self.overall.majority.is_some() {
            write!(f, " {:>8}", format!("maj@{most}"))?;
        }
        writeln!(f)?;
        let rows = self.rows.iter().map(|row| (format!("{} {}", row.task, row.form), &row.score));
        let all = (self.rows.len() != 1).then(|| ("all".to_owned(), &self.overall));
        for (name, score) in rows.chain(all) {
            let interval = format!("{} to {}", percent(score.interval.low), percent(score.interval.high));
            write!(
                f,
                "{name:<22} {:>9} {:>9} {interval:>15} {:>8.3} {:>8}",
                score.questions,
                percent(score.accuracy),
                score.mean_reward,
                percent(score.format)
            )?;
            for k in &pass_at {
                write!(f, " {:>8}", score.pass_at.get(k).map_or_else(String::new, |share| percent(*share)))?;
            }
            if let Some(majority) = score.majority {
                write!(f, " {:>8}", percent(majority))?;
            }
            writeln!(f)?;
        }
        if let Some(blind) = &self.baselines {
            let answer = format!("always `{}`", blind.majority.answer);
            writeln!(f, "{answer:<32} {:>9}   without the image", percent(blind.majority.accuracy))?;
            writeln!(
                f,
                "{:<32} {:>9}   {}",
                "best answer per wording",
                percent(blind.per_question),
                blind.note
            )?;
        }
        if let Some(published) = &self.published {
            write!(f, "{published}")?;
        }
        if let Some(against) = &self.against {
            writeln!(f, "against the earlier answers: {against}")?;
        }
        Ok(())
    }
}

/// Accuracy of several phases side by side: one line per phase, one column per benchmark, task and form.
/// A benchmark that a phase did not run leaves its cell empty.
pub fn summary_table(phases: &[(String, Vec<EvalReport>)]) -> String {
    let mut columns: Vec<(String, Task, Form)> = Vec::new();
    for row in phases
        .iter()
        .flat_map(|(_, reports)| reports)
        .flat_map(|report| report.rows.iter().map(|row| (report.benchmark.clone(), row.task, row.form)))
    {
        if !columns.contains(&row) {
            columns.push(row);
        }
    }
    let several_forms = columns.iter().any(|(_, _, form)| *form != columns[0].2);
    let mut table = vec![vec!["accuracy, % (95 %)".to_owned()]];
    table[0].extend(columns.iter().map(|(benchmark, task, form)| {
        if several_forms { format!("{benchmark} {task} {form}") } else { format!("{benchmark} {task}") }
    }));
    for (phase, reports) in phases {
        let cell = |(benchmark, task, form): &(String, Task, Form)| {
            let report = reports.iter().find(|report| report.benchmark == *benchmark);
            let row = report
                .and_then(|report| report.rows.iter().find(|row| (row.task, row.form) == (*task, *form)));
            row.map_or_else(String::new, |row| {
                let Interval { low, high } = row.score.interval;
                format!("{:.1} ({:.1}-{:.1})", 100.0 * row.score.accuracy, 100.0 * low, 100.0 * high)
            })
        };
        table.push([phase.clone()].into_iter().chain(columns.iter().map(cell)).collect());
    }
    align(&table)
}

fn align(table: &[Vec<String>]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    table.iter().map(line).collect()
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
