//! What a report's page shows of a run, as the JSON that its script reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use reft_config::{Recipe, Resolved, difference};
use reft_store::{MetricRow, RunReader};
use serde::Serialize;
use serde_json::{Map, Value};

use super::browse::{Browse, Changed, Group};
use crate::{Error, inspect::inspect};

/// Events that a person should know of.
const NOTICES: [&str; 16] = [
    "bad_images",
    "best_kept",
    "checkpoint_damaged",
    "config_edited",
    "early_stop",
    "error",
    "inputs_accepted",
    "interrupted",
    "no_signal",
    "non_finite",
    "nothing_to_imitate",
    "panic",
    "record_shorter",
    "relaunch",
    "skipped_step",
    "skipped_update",
];

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct RunData {
    name: String,
    dir: String,
    is_finished: bool,
    attempts: u64,
    checkpoint: Option<String>,
    model: Option<String>,
    /// `name: path` of each data set.
    data: Vec<String>,
    /// `config.toml`.
    recipe: String,
    /// Keys that are not at their defaults.
    changed: Vec<String>,
    environment: Value,
    notices: Vec<Notice>,
    /// What the look at the data sets before the first step found, one each.
    audits: Vec<Value>,
    results: Vec<Cell>,
    /// What the benchmarks of the field say of themselves.
    published: Vec<[String; 3]>,
    gains: Vec<GainData>,
    phases: Vec<String>,
    curves: Curves,
    points: Vec<Point>,
    groups: Vec<Group>,
    changes: Vec<Changed>,
    /// Pictures as `data:` addresses, by the keys of groups.
    images: BTreeMap<String, String>,
    damaged: Vec<String>,
}

/// A kind of event.
#[derive(Debug, Serialize)]
struct Notice {
    kind: String,
    count: usize,
    /// The last one.
    last: Map<String, Value>,
}

/// An accuracy with its 95 % interval, 0 to 1.
#[derive(Debug, Serialize)]
struct Cell {
    phase: String,
    benchmark: String,
    /// Task and form; empty for the benchmark as a whole.
    part: String,
    accuracy: f64,
    low: f64,
    high: f64,
    questions: usize,
}

#[derive(Debug, Serialize)]
struct GainData {
    before: String,
    after: String,
    benchmark: String,
    gain: f64,
    p: f64,
}

/// The numbers of every step of training and rejection, a column each; what a step does not have is null.
#[derive(Debug, Default, Serialize)]
struct Curves {
    /// Index of the phase.
    phase: Vec<usize>,
    step: Vec<u64>,
    /// Completion tokens so far.
    tokens: Vec<f64>,
    /// Hours of steps so far.
    hours: Vec<f64>,
    series: BTreeMap<String, Vec<Option<f64>>>,
}

/// What a phase asked while it trained.
#[derive(Debug, Serialize)]
struct Point {
    /// Steps of `curves` before it.
    at: usize,
    phase: String,
    step: u64,
    benchmark: String,
    accuracy: f64,
}

impl RunData {
    /// Reads a run; files that are damaged are left out and named.
    pub(super) fn of(run: &Path, browse: Browse) -> Result<Self, Error> {
        let reader = RunReader::open(run)?;
        let inspection = inspect(run)?;
        let recipe = fs::read_to_string(run.join("config.toml")).unwrap_or_default();
        let resolved = Resolved::from_text(&recipe, "config.toml", &[]).ok().map(|resolved| resolved.recipe);
        let phases = reader.info().phases.clone();
        let (metrics, timings) = (reader.metrics()?, reader.timings()?);
        let evaluated: BTreeSet<&str> =
            inspection.summary.reports.iter().map(|report| report.phase.as_str()).collect();
        let trained: Vec<MetricRow> =
            metrics.into_iter().filter(|row| !evaluated.contains(row.phase.as_str())).collect();
        let points = reader.validations()?.into_iter().filter_map(|point| {
            let first = trained.iter().position(|row| row.phase == point.phase).unwrap_or(trained.len());
            let done = trained[first..].iter().filter(|r| r.phase == point.phase && r.step <= point.step);
            Some(Point {
                at: first + done.count(),
                accuracy: point.accuracy()?,
                phase: point.phase,
                step: point.step,
                benchmark: point.benchmark,
            })
        });
        let points = points.collect();
        let found = browse.of(run, &reader, resolved.as_ref())?;
        let events = reader.events()?;
        Ok(Self {
            name: inspection.summary.name.clone(),
            dir: run.display().to_string(),
            is_finished: inspection.summary.finished,
            attempts: inspection.summary.attempts,
            checkpoint: inspection.summary.latest_checkpoint.clone(),
            model: resolved.as_ref().map(|recipe| recipe.model.path.display().to_string()),
            data: resolved.iter().flat_map(|recipe| recipe.data.keys().cloned()).collect(),
            changed: resolved.as_ref().map(changed).unwrap_or_default(),
            recipe,
            environment: reader.info().environment.clone(),
            notices: notices(&events),
            audits: of_kind(&events, "data").cloned().map(Value::Object).collect(),
            results: inspection.results.iter().flat_map(|(phase, reports)| cells(phase, reports)).collect(),
            published: published(&inspection.results),
            gains: inspection
                .gains
                .iter()
                .map(|gain| GainData {
                    before: gain.before.clone(),
                    after: gain.after.clone(),
                    benchmark: gain.benchmark.clone(),
                    gain: gain.paired.gain,
                    p: gain.paired.p_value,
                })
                .collect(),
            curves: curves(&trained, &timings, &phases),
            phases,
            points,
            groups: found.groups,
            changes: found.changes,
            images: found.images,
            damaged: reader.damaged(),
        })
    }

    pub(super) fn damaged(&self) -> &[String] {
        &self.damaged
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// What of the recipe is not as it would be without being said.
fn changed(recipe: &Recipe) -> Vec<String> {
    match (recipe.bare().map(|bare| bare.to_toml()), recipe.to_toml()) {
        (Some(Ok(bare)), Ok(text)) => difference(&bare, &text),
        _ => Vec::new(),
    }
}

fn notices(events: &[Map<String, Value>]) -> Vec<Notice> {
    let notice = |kind: &&str| {
        let last = of_kind(events, kind).last()?.clone();
        Some(Notice { kind: (*kind).to_owned(), count: of_kind(events, kind).count(), last })
    };
    NOTICES.iter().filter_map(notice).collect()
}

/// The events of a kind; a line that was damaged may have none.
fn of_kind<'a>(
    events: &'a [Map<String, Value>],
    kind: &'a str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    events.iter().filter(move |event| event.get("event").is_some_and(|e| e == kind))
}

fn cells(phase: &str, reports: &[reft_eval::EvalReport]) -> Vec<Cell> {
    let cell = |benchmark: &str, part: String, score: &reft_eval::Score| Cell {
        phase: phase.to_owned(),
        benchmark: benchmark.to_owned(),
        part,
        accuracy: score.accuracy,
        low: score.interval.low,
        high: score.interval.high,
        questions: score.questions,
    };
    let of = |report: &reft_eval::EvalReport| {
        let whole = cell(&report.benchmark, String::new(), &report.overall);
        let rows = report.rows.iter();
        let rows = rows.map(|row| cell(&report.benchmark, format!("{} {}", row.task, row.form), &row.score));
        std::iter::once(whole).chain(rows).collect::<Vec<_>>()
    };
    reports.iter().flat_map(of).collect()
}

fn published(results: &[(String, Vec<reft_eval::EvalReport>)]) -> Vec<[String; 3]> {
    let of_phase = |(phase, reports): &(String, Vec<reft_eval::EvalReport>)| {
        let of = |report: &reft_eval::EvalReport| {
            let text = report.published.as_ref()?.to_string();
            Some([phase.clone(), report.benchmark.clone(), text])
        };
        reports.iter().filter_map(of).collect::<Vec<_>>()
    };
    results.iter().flat_map(of_phase).collect()
}

fn curves(rows: &[MetricRow], timings: &[MetricRow], phases: &[String]) -> Curves {
    let timings: BTreeMap<(&str, u64), &MetricRow> =
        timings.iter().map(|row| ((row.phase.as_str(), row.step), row)).collect();
    let mut curves = Curves::default();
    let (mut tokens, mut hours) = (0.0, 0.0);
    for (i, row) in rows.iter().enumerate() {
        let timing = timings.get(&(row.phase.as_str(), row.step));
        let time = |name| timing.and_then(|row| row.metrics.get(name)).unwrap_or(0.0);
        let answered = time("rollout/tokens");
        tokens += if answered > 0.0 { answered } else { row.metrics.get("sft/tokens").unwrap_or(0.0) };
        hours += time("time/step_s") / 3600.0;
        curves.phase.push(phases.iter().position(|phase| *phase == row.phase).unwrap_or_default());
        curves.step.push(row.step);
        curves.tokens.push(tokens);
        curves.hours.push(hours);
        let numbers = row.metrics.iter().chain(timing.iter().flat_map(|row| row.metrics.iter()));
        for (name, value) in numbers.filter(|(_, value)| value.is_finite()) {
            let column = curves.series.entry(name.to_owned()).or_default();
            column.resize(i, None);
            column.push(Some(value));
        }
    }
    for column in curves.series.values_mut() {
        column.resize(rows.len(), None);
    }
    curves
}
