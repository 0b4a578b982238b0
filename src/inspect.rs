//! A run as tables: `reft inspect`, and what `reft train` says at the end.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use reft_core::Metrics;
use reft_eval::{EvalReport, summary_table};
use reft_store::{RunReader, Summary, ValidationPoint};
use serde::{Deserialize as _, Serialize};

use crate::{
    Error,
    gains::{Gain, gains, table},
};

/// What is shown of a phase, from its first to its last steps: metric, label, factor.
const SHOWN: [(&str, &str, f64); 8] = [
    ("reward/mean", "reward", 1.0),
    ("reward/accuracy", "right %", 100.0),
    ("groups/mixed", "mixed %", 100.0),
    ("grpo/kl", "kl", 1.0),
    ("sft/loss", "loss", 1.0),
    ("reject/questions_kept", "kept %", 100.0),
    ("completion/length_mean", "tokens", 1.0),
    ("completion/truncated", "cut %", 100.0),
];

/// A run at a glance. `Display` is a text with tables.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The run directory.
    pub run: PathBuf,
    /// State, checkpoints, phases.
    pub summary: Summary,
    /// The reports of each evaluation phase, in order.
    pub results: Vec<(String, Vec<EvalReport>)>,
    /// What phases asked while they trained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<ValidationPoint>,
    /// How answers changed from each evaluation to the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gains: Vec<Gain>,
    /// Files, and lines of files, that were left out because they are damaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// Looks at a run directory, of a run that is over or of one that another process works on.
pub fn inspect(run: &Path) -> Result<Inspection, Error> {
    let reader = RunReader::open(run)?;
    let summary = reader.summary()?;
    let mut results: Vec<(String, Vec<EvalReport>)> = Vec::new();
    for found in &summary.reports {
        // A benchmark of a user's own may say something else; its numbers are in the metrics all the same.
        let Ok(report) = EvalReport::deserialize(&found.report) else {
            continue;
        };
        match results.last_mut() {
            Some((phase, reports)) if *phase == found.phase => reports.push(report),
            _ => results.push((found.phase.clone(), vec![report])),
        }
    }
    let gains = gains(&reader)?;
    let validations = reader.validations()?;
    Ok(Inspection { run: run.to_owned(), summary, results, validations, gains, damaged: reader.damaged() })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { name, finished, attempts, latest_checkpoint, phases, .. } = &self.summary;
        let state = if *finished { "finished" } else { "not finished" };
        writeln!(f, "run         {name} ({state}, {attempts} {})", plural(*attempts, "attempt"))?;
        writeln!(f, "directory   {}", self.run.display())?;
        if let Some(checkpoint) = latest_checkpoint {
            writeln!(f, "checkpoint  {checkpoint}")?;
        }
        if *finished {
            writeln!(f, "model       {}", self.run.join("final").display())?;
        }

        writeln!(f, "\nphase             steps  first -> last steps")?;
        for phase in phases {
            let numbers = changes(&phase.first, &phase.last);
            writeln!(f, "{:<16} {:>6}  {}", phase.phase, phase.steps, numbers.join("   "))?;
        }
        let courses = courses(&self.validations);
        if !courses.is_empty() {
            writeln!(f, "\nevaluated while training, accuracy in %\n{}", courses.join("\n"))?;
        }
        if !self.results.is_empty() {
            writeln!(f, "\n{}", summary_table(&self.results).trim_end())?;
        }
        if !self.gains.is_empty() {
            writeln!(
                f,
                "\nchange in points, same questions (exact paired test)\n{}",
                table(&self.gains).trim_end()
            )?;
        }
        for what in &self.damaged {
            writeln!(f, "left out: {what}")?;
        }
        Ok(())
    }
}

fn changes(first: &Metrics, last: &Metrics) -> Vec<String> {
    let shown = SHOWN.iter().filter_map(|&(name, label, factor)| {
        let (before, after) = (first.get(name)? * factor, last.get(name)? * factor);
        Some(format!("{label} {} -> {}", short(before), short(after)))
    });
    shown.collect()
}

/// `open             val  24.0 -> 61.5, best 63.0 after 80 steps`, a line for each phase and benchmark.
fn courses(points: &[ValidationPoint]) -> Vec<String> {
    let mut courses: Vec<Vec<&ValidationPoint>> = Vec::new();
    for point in points.iter().filter(|point| point.accuracy().is_some()) {
        let is_same = |c: &&mut Vec<&ValidationPoint>| {
            (&c[0].phase, &c[0].benchmark) == (&point.phase, &point.benchmark)
        };
        match courses.iter_mut().find(is_same) {
            Some(course) => course.push(point),
            None => courses.push(vec![point]),
        }
    }
    let percent = |point: &ValidationPoint| 100.0 * point.accuracy().unwrap_or_default();
    let line = |points: Vec<&ValidationPoint>| {
        let (first, last) = (points[0], points[points.len() - 1]);
        // The earliest of equals.
        let is_better = |best, point| if percent(point) > percent(best) { point } else { best };
        let best = points.iter().copied().fold(first, is_better);
        format!(
            "{:<16} {}  {:.1} -> {:.1}, best {:.1} after {} steps",
            first.phase,
            first.benchmark,
            percent(first),
            percent(last),
            percent(best),
            best.step
        )
    };
    courses.into_iter().map(line).collect()
}

/// Three significant digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn plural(n: u64, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use reft_core::{Metrics, Recorder as _};
    use reft_store::{RunDir, RunInfo};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_as_text() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("demo");
        let mut store = RunDir::create(&root, &RunInfo::new("demo", ["binary", "after"]), "").unwrap();
        for step in 1..=20 {
            let mut metrics = Metrics::new();
            metrics.set("reward/mean", step as f64 / 10.0);
            metrics.set("grpo/kl", 0.001);
            store.step("binary", step, &metrics).unwrap();
        }
        drop(store);
        let score = json!({"questions": 4, "answers": 4, "accuracy": 0.5, "interval": {"low": 0.15, "high": 0.85},
                           "mean_reward": 0.5, "format": 1.0});
        let mut row = score.clone();
        row["task"] = json!("math");
        row["form"] = json!("open");
        let report = json!({"benchmark": "digits", "overall": score, "rows": [row]});
        for (benchmark, text) in [("digits", report.to_string()), ("own", "{\"score\": 3}".to_owned())] {
            let folder = root.join("eval/after").join(benchmark);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("report.json"), text).unwrap();
        }
        for (step, accuracy) in [(0, 0.25), (10, 0.625), (20, 0.625)] {
            let folder = root.join(format!("validation/binary/step_{step:06}/val"));
            std::fs::create_dir_all(&folder).unwrap();
            let text = json!({"overall": {"accuracy": accuracy}}).to_string();
            std::fs::write(folder.join("report.json"), text).unwrap();
        }

        let text = inspect(&root).unwrap().to_string();
        for expected in [
            "demo (not finished, 1 attempt)",
            // Means of the first and of the last two of twenty steps.
            "reward 0.15 -> 1.95   kl 0.0010 -> 0.0010",
            "binary           val  25.0 -> 62.5, best 62.5 after 10 steps",
            "digits math",
            "50.0 (15.0-85.0)",
        ] {
            assert!(text.contains(expected), "want {expected}\n{text}");
        }
        assert!(inspect(dir.path()).unwrap_err().to_string().contains("run.json"));
    }
}
