//! Two runs beside each other: the same questions, answered by both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use reft_config::difference;
use reft_eval::Paired;
use reft_store::RunReader;
use serde::Serialize;

use crate::{
    Error,
    examples::{Answer, first_answers},
};

/// How two runs differ. `Display` is a text with a table.
#[derive(Clone, Debug, Serialize)]
pub struct RunComparison {
    /// The first run.
    pub first: Side,
    /// The second run.
    pub second: Side,
    /// By benchmark and task, and each benchmark as a whole before its tasks.
    pub rows: Vec<Row>,
    /// Benchmarks that only one of the evaluations asked, or that share no question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Keys in which the recipes differ, `key: first -> second`.
    pub recipe: Vec<String>,
}

/// One of the two runs.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The run directory.
    pub run: PathBuf,
    /// The evaluation phase.
    pub phase: String,
}

/// First answers to the questions that both were asked.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The benchmark.
    pub benchmark: String,
    /// The task; none for all.
    pub task: Option<String>,
    /// Right in one, in both, in none.
    pub paired: Paired,
}

/// Compares two runs by their last evaluations, or by evaluations of a name.
pub fn compare(first: &Path, second: &Path, phase: Option<&str>) -> Result<RunComparison, Error> {
    let (one, other) = (RunReader::open(first)?, RunReader::open(second)?);
    let first = Side { run: first.to_owned(), phase: evaluation(&one, first, phase)? };
    let second = Side { run: second.to_owned(), phase: evaluation(&other, second, phase)? };
    let [left, right] = [(&one, &first), (&other, &second)].map(|(run, side)| sheets(run, &side.phase));
    let (left, right) = (left?, right?);

    let (mut rows, mut left_out) = (Vec::new(), Vec::new());
    let benchmarks: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for benchmark in benchmarks {
        let pairs = match (left.get(benchmark), right.get(benchmark)) {
            (Some(left), Some(right)) => both(left, right),
            _ => Vec::new(),
        };
        if pairs.is_empty() {
            left_out.push(benchmark.clone());
            continue;
        }
        let of = |task: Option<&str>| Row {
            benchmark: benchmark.clone(),
            task: task.map(str::to_owned),
            paired: Paired::new(
                pairs.iter().filter(|pair| task.is_none_or(|task| task == pair.0)).map(|pair| pair.1),
            ),
        };
        rows.push(of(None));
        let tasks: BTreeSet<&str> = pairs.iter().map(|pair| pair.0).collect();
        if tasks.len() > 1 {
            rows.extend(tasks.into_iter().map(|task| of(Some(task))));
        }
    }
    // A run whose recipe cannot be read has no difference to show; its answers are compared all the same.
    let recipe = |side: &Side| fs::read_to_string(side.run.join("config.toml")).unwrap_or_default();
    let recipe = difference(&recipe(&first), &recipe(&second));
    Ok(RunComparison { first, second, rows, left_out, recipe })
}

/// The evaluation phase to look at.
fn evaluation(run: &RunReader, path: &Path, wanted: Option<&str>) -> Result<String, Error> {
    let mut phases: Vec<String> = run.reports()?.into_iter().map(|report| report.phase).collect();
    phases.dedup();
    let found = match wanted {
        Some(wanted) => phases.iter().find(|phase| *phase == wanted),
        None => phases.last(),
    };
    found.cloned().ok_or_else(|| {
        let message = match (wanted, phases.is_empty()) {
            (Some(wanted), false) => {
                format!("has no evaluation phase `{wanted}` that is done; done are: {}", phases.join(", "))
            }
            _ => "has no evaluation that is done; add a phase of kind `eval` to its recipe".to_owned(),
        };
        Error::File { path: path.to_owned(), message }
    })
}

/// First answers by benchmark and question.
fn sheets(run: &RunReader, phase: &str) -> Result<BTreeMap<String, BTreeMap<String, Answer>>, Error> {
    let reports = run.reports()?.into_iter().filter(|report| report.phase == phase);
    Ok(reports
        .map(|report| (report.benchmark.clone(), first_answers(run, phase, &report.benchmark)))
        .collect())
}

/// Task and marks of each question that both answered. A question is the same where id and prompt are.
fn both<'a>(
    left: &'a BTreeMap<String, Answer>,
    right: &BTreeMap<String, Answer>,
) -> Vec<(&'a str, (bool, bool))> {
    let pair = |(id, left): (&String, &'a Answer)| {
        let right = right.get(id).filter(|right| right.prompt == left.prompt)?;
        Some((left.task.as_str(), (left.right == Some(true), right.right == Some(true))))
    };
    left.iter().filter_map(pair).collect()
}

impl fmt::Display for RunComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, side) in [("A", &self.first), ("B", &self.second)] {
            writeln!(f, "{label}  {} ({})", side.run.display(), side.phase)?;
        }
        writeln!(
            f,
            "\n{:<28} {:>9} {:>7} {:>7} {:>7}  {:>7}  only A, only B right",
            "accuracy, %", "questions", "A", "B", "B - A", "p"
        )?;
        for Row { benchmark, task, paired } in &self.rows {
            let name = task.as_ref().map_or_else(|| benchmark.clone(), |task| format!("  {task}"));
            let Paired { questions, both, only_first, only_second, gain, p_value, .. } = *paired;
            let share = |right: usize| 100.0 * right as f64 / questions.max(1) as f64;
            let p = if p_value < 0.001 { "<0.001".to_owned() } else { format!("{p_value:.3}") };
            writeln!(
                f,
                "{name:<28} {questions:>9} {:>7.1} {:>7.1} {:>+7.1}  {p:>7}  {only_first}, {only_second}",
                share(both + only_first),
                share(both + only_second),
                100.0 * gain,
            )?;
        }
        if self.rows.is_empty() {
            writeln!(f, "the two evaluations share no question")?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "left out, not asked in both: {}", self.left_out.join(", "))?;
        }
        writeln!(f, "\np: chance of a split at least this uneven if neither were better (exact, paired)")?;
        match &self.recipe[..] {
            [] => writeln!(f, "\nthe recipes are the same"),
            keys => writeln!(f, "\nrecipe, A -> B\n  {}", keys.join("\n  ")),
        }
    }
}
