//! Looking at a run directory, of a run that is over or of one that another process works on.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use reft_core::Metrics;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    RunInfo, StoreError, checkpoint, disk,
    info::RunRecord,
    layout::{Layout, parse_step},
    read_rows,
};

/// Reads a run directory without owning it.
#[derive(Debug)]
pub struct RunReader {
    layout: Layout,
    record: RunRecord,
    /// Files and lines that were left out because they are damaged.
    damaged: RefCell<BTreeSet<String>>,
}

/// A line of `metrics.jsonl` or `timings.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    /// The phase.
    pub phase: String,
    /// Steps done in the phase.
    pub step: u64,
    /// The numbers; those that were not finite are missing.
    pub metrics: Metrics,
}

/// A run at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The run's name.
    pub name: String,
    /// Whether all phases are done.
    pub finished: bool,
    /// How many processes have worked on it.
    pub attempts: u64,
    /// The newest checkpoint by name.
    pub latest_checkpoint: Option<String>,
    /// Each phase that has recorded something, in order.
    pub phases: Vec<PhaseSummary>,
    /// `report.json` by phase and benchmark, in order.
    pub reports: Vec<BenchmarkReport>,
}

/// A phase at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseSummary {
    /// Its name.
    pub phase: String,
    /// The newest recorded step.
    pub steps: u64,
    /// Each metric's mean over the first tenth of the steps (at least one).
    pub first: Metrics,
    /// Each metric's mean over the last tenth of the steps (at least one).
    pub last: Metrics,
}

/// The outcome of one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchmarkReport {
    /// The evaluation phase.
    pub phase: String,
    /// The benchmark.
    pub benchmark: String,
    /// Its `report.json`.
    pub report: Value,
}

/// The outcome of one benchmark that a phase asked while it trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValidationPoint {
    /// The training phase.
    pub phase: String,
    /// Steps that it had done.
    pub step: u64,
    /// The benchmark.
    pub benchmark: String,
    /// Its `report.json`.
    pub report: Value,
}

impl ValidationPoint {
    /// The accuracy, 0 to 1, as far as the report has one.
    pub fn accuracy(&self) -> Option<f64> {
        [&self.report["overall"]["accuracy"], &self.report["accuracy"]].into_iter().find_map(Value::as_f64)
    }
}

impl RunReader {
    /// Fails when `root` is not a run directory.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        let record = RunRecord::read(&layout)?;
        Ok(Self { layout, record, damaged: RefCell::default() })
    }

    /// What the run is.
    pub fn info(&self) -> &RunInfo {
        &self.record.info
    }

    /// Whether all phases are done.
    pub fn is_finished(&self) -> bool {
        self.record.finished
    }

    /// The numbers of every step.
    pub fn metrics(&self) -> Result<Vec<MetricRow>, StoreError> {
        Ok(metric_rows(self.json_lines(&self.layout.metrics())?))
    }

    /// The seconds of every step.
    pub fn timings(&self) -> Result<Vec<MetricRow>, StoreError> {
        Ok(metric_rows(self.json_lines(&self.layout.timings())?))
    }

    /// Everything that happened, oldest first.
    pub fn events(&self) -> Result<Vec<Map<String, Value>>, StoreError> {
        self.json_lines(&self.layout.events())
    }

    /// The rows of a Parquet file of the run. A damaged file has none, and is noted.
    pub fn rows(&self, path: &Path) -> Vec<Map<String, Value>> {
        read_rows(path).unwrap_or_else(|error| {
            self.note_damaged(error.to_string());
            Vec::new()
        })
    }

    /// What was left out so far because it is damaged: files, and lines of files.
    pub fn damaged(&self) -> Vec<String> {
        self.damaged.borrow().iter().cloned().collect()
    }

    fn note_damaged(&self, what: String) {
        self.damaged.borrow_mut().insert(what);
    }

    /// The completion files of a phase by step; [`RunReader::rows`] reads one.
    pub fn completions(&self, phase: &str) -> Result<Vec<PathBuf>, StoreError> {
        let files = disk::entries(&self.layout.completions(phase))?;
        Ok(files.into_iter().filter(|path| parse_step(path).is_some()).collect())
    }

    /// The model as it was at the end of a phase: what the run was told to keep, else the checkpoint that was written
    /// there; none where both are gone.
    pub fn model_after(&self, phase: &str) -> Option<PathBuf> {
        let kept = self.layout.phase(phase);
        if kept.is_dir() {
            return Some(kept);
        }
        let index = self.record.info.phases.iter().position(|name| name == phase)?;
        let at_its_end = |dir: &PathBuf| {
            checkpoint::cursor_of(dir).is_some_and(|cursor| cursor.phase == index + 1 && cursor.step == 0)
        };
        let checkpoints = disk::entries(&self.layout.checkpoints()).ok()?;
        Some(checkpoints.into_iter().find(at_its_end)?.join("policy"))
    }

    /// The predictions of a benchmark; [`RunReader::rows`] reads them.
    pub fn predictions(&self, phase: &str, benchmark: &str) -> PathBuf {
        let dir = self.layout.eval(phase).join(benchmark);
        dir.join("predictions.parquet")
    }

    /// Every finished benchmark, phases in order.
    pub fn reports(&self) -> Result<Vec<BenchmarkReport>, StoreError> {
        let mut reports = Vec::new();
        for phase in &self.record.info.phases {
            for (benchmark, report) in self.reports_in(&self.layout.eval(phase))? {
                reports.push(BenchmarkReport { phase: phase.clone(), benchmark, report });
            }
        }
        Ok(reports)
    }

    /// What phases have asked while they trained, phases and steps in order.
    pub fn validations(&self) -> Result<Vec<ValidationPoint>, StoreError> {
        let mut points = Vec::new();
        for phase in &self.record.info.phases {
            for dir in disk::entries(&self.layout.validation(phase))? {
                let Some(step) = parse_step(&dir) else { continue };
                for (benchmark, report) in self.reports_in(&dir)? {
                    points.push(ValidationPoint { phase: phase.clone(), step, benchmark, report });
                }
            }
        }
        Ok(points)
    }

    /// `BENCHMARK/report.json` in a folder, by name. A damaged one is left out and noted.
    fn reports_in(&self, folder: &Path) -> Result<Vec<(String, Value)>, StoreError> {
        let mut reports = Vec::new();
        for dir in disk::entries(folder)? {
            let path = dir.join("report.json");
            if !path.exists() {
                continue;
            }
            match serde_json::from_slice(&disk::read(&path)?) {
                Ok(report) => {
                    let benchmark = dir.file_name().unwrap_or_default();
                    reports.push((benchmark.to_string_lossy().into_owned(), report));
                }
                Err(error) => {
                    self.note_damaged(StoreError::Damaged { path, reason: error.to_string() }.to_string());
                }
            }
        }
        Ok(reports)
    }

    /// The run at a glance.
    pub fn summary(&self) -> Result<Summary, StoreError> {
        let rows = self.metrics()?;
        let phases = self.record.info.phases.iter();
        let latest = self.layout.checkpoints().join("LATEST");
        Ok(Summary {
            name: self.record.info.name.clone(),
            finished: self.record.finished,
            attempts: self.record.attempts,
            latest_checkpoint: std::fs::read_to_string(latest).ok().map(|name| name.trim().to_owned()),
            phases: phases
                .filter_map(|phase| {
                    let rows: Vec<&MetricRow> = rows.iter().filter(|row| row.phase == *phase).collect();
                    let window = rows.len().div_ceil(10);
                    Some(PhaseSummary {
                        phase: phase.clone(),
                        steps: rows.last()?.step,
                        first: means(&rows[..window]),
                        last: means(&rows[rows.len() - window..]),
                    })
                })
                .collect(),
            reports: self.reports()?,
        })
    }
}

fn metric_rows(rows: Vec<Map<String, Value>>) -> Vec<MetricRow> {
    rows.into_iter()
        .map(|row| {
            let mut metrics = Metrics::new();
            for (name, value) in &row {
                let is_number = name != "phase" && name != "step";
                if let Some(value) = value.as_f64().filter(|_| is_number) {
                    metrics.set(name.as_str(), value);
                }
            }
            MetricRow {
                phase: row.get("phase").and_then(Value::as_str).unwrap_or_default().to_owned(),
                step: row.get("step").and_then(Value::as_u64).unwrap_or_default(),
                metrics,
            }
        })
        .collect()
}

impl RunReader {
    /// The objects of a file that only grows. A last line without its end is still being written, or was torn by a kill;
    /// damaged lines are left out and noted.
    fn json_lines(&self, path: &Path) -> Result<Vec<Map<String, Value>>, StoreError> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = disk::read(path)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let lines = bytes[..whole.unwrap_or(0)].split(|&byte| byte == b'\n');
        let mut rows = Vec::new();
        for (i, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    let reason = format!("line {}: {error}", i + 1);
                    self.note_damaged(StoreError::Damaged { path: path.to_owned(), reason }.to_string());
                }
            }
        }
        Ok(rows)
    }
}

fn means(rows: &[&MetricRow]) -> Metrics {
    let mut sums: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
    for (name, value) in rows.iter().flat_map(|row| row.metrics.iter()) {
        let (sum, n) = sums.entry(name).or_default();
        *sum += value;
        *n += 1;
    }
    let mut means = Metrics::new();
    for (name, (sum, n)) in sums {
        means.set(name, sum / f64::from(n));
    }
    means
}
