//! Trackers: a run's numbers in files that other tools show, beside `metrics.jsonl`, which stays the record.
//!
//! A tracker writes what `metrics.jsonl` holds. A run that goes on may have taken some steps back, so each process begins
//! its file anew from the record and appends from there. What cannot be written is said once and never stops a run.

mod csv;
mod shown;
mod tensorboard;
#[cfg(feature = "trackio")]
mod trackio;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use reft_config::Tracker;
use reft_core::Metrics;
use reft_pipeline::{Observer, PhaseInfo, StepReport};
use reft_store::{MetricRow, RunReader, ValidationPoint};

use csv::Csv;
use shown::Shown;
use tensorboard::TensorBoard;

use crate::examples::Pictures;

/// A step of a run, counted over all its phases from 1.
pub(crate) struct Point<'a> {
    /// Which step.
    pub(crate) number: u64,
    /// The phase.
    pub(crate) phase: &'a str,
    /// The step of the phase.
    pub(crate) step: u64,
    /// Its numbers.
    pub(crate) metrics: &'a Metrics,
}

/// A file that takes one step after another.
trait Sink {
    /// Adds a step.
    fn add(&mut self, point: &Point<'_>) -> io::Result<()>;

    /// Adds what was asked of a benchmark while a phase trained, after `number` steps of the run. The default leaves it to
    /// the record.
    fn validated(&mut self, _number: u64, _benchmark: &str, _accuracy: f64) -> io::Result<()> {
        Ok(())
    }

    /// Takes the recipe, once. The default leaves it to the run directory.
    fn recipe(&mut self, _toml: &str) -> io::Result<()> {
        Ok(())
    }

    /// Whether it takes questions with their answers: looking them up reads files.
    fn shows(&self) -> bool {
        false
    }

    /// Adds a question with its answers. The default leaves them to the record.
    fn shown(&mut self, _shown: &Shown) -> io::Result<()> {
        Ok(())
    }
}

/// An observer that also writes trackers' files.
pub(crate) struct Tracked<'a> {
    inner: &'a mut dyn Observer,
    run: PathBuf,
    trackers: Vec<Tracker>,
    pictures: Pictures,
    /// Opened at the first step of this process, when the record has been taken back to the checkpoint.
    open: Option<Vec<(Tracker, Box<dyn Sink>)>>,
    n_steps: u64,
}

impl<'a> Tracked<'a> {
    /// Writes into the run directory; with no trackers it passes everything on and does nothing else.
    pub(crate) fn new(
        inner: &'a mut dyn Observer,
        run: &Path,
        trackers: &[Tracker],
        pictures: Pictures,
    ) -> Self {
        Self { inner, run: run.to_owned(), trackers: trackers.to_vec(), pictures, open: None, n_steps: 0 }
    }

    fn track(&mut self, step: &StepReport<'_>) {
        if self.trackers.is_empty() {
            return;
        }
        if self.open.is_none() {
            let reader = RunReader::open(&self.run);
            let mut rows = reader.as_ref().map_or(Ok(Vec::new()), RunReader::metrics).unwrap_or_default();
            let validations =
                reader.as_ref().map_or(Ok(Vec::new()), RunReader::validations).unwrap_or_default();
            // An evaluation shows a step before it records it.
            let is_this = |row: &MetricRow| row.phase == step.phase && row.step == step.step;
            if !rows.last().is_some_and(is_this) {
                let StepReport { phase, step, metrics, .. } = *step;
                rows.push(MetricRow { phase: phase.to_owned(), step, metrics: metrics.clone() });
            }
            self.n_steps = rows.len() as u64;
            let mut opened = Vec::new();
            for tracker in self.trackers.clone() {
                let begun = begin(tracker, &self.run, &rows, &validations, &mut self.pictures);
                match begun {
                    Ok(sink) => opened.push((tracker, sink)),
                    Err(error) => self.lost(tracker, &error),
                }
            }
            self.open = Some(opened);
            return;
        }
        self.n_steps += 1;
        let point = Point { number: self.n_steps, phase: step.phase, step: step.step, metrics: step.metrics };
        self.each(|sink| sink.add(&point));
        if self.open.iter().flatten().any(|(_, sink)| sink.shows())
            && let Some(shown) = Shown::of(&self.run, step.phase, step.step, self.n_steps, &mut self.pictures)
        {
            self.each(|sink| sink.shown(&shown));
        }
    }

    /// What every open tracker takes; one that cannot is left.
    fn each(&mut self, mut add: impl FnMut(&mut dyn Sink) -> io::Result<()>) {
        let mut failed = Vec::new();
        if let Some(open) = &mut self.open {
            open.retain_mut(|(tracker, sink)| match add(sink.as_mut()) {
                Ok(()) => true,
                Err(error) => {
                    failed.push((*tracker, error));
                    false
                }
            });
        }
        for (tracker, error) in failed {
            self.lost(tracker, &error);
        }
    }

    fn lost(&mut self, tracker: Tracker, error: &io::Error) {
        self.inner.message(&format!(
            "tracker `{tracker}` stops: {error}; the run goes on, its record is metrics.jsonl"
        ));
    }
}

/// A tracker's file with all steps so far.
fn begin(
    tracker: Tracker,
    run: &Path,
    rows: &[MetricRow],
    validations: &[ValidationPoint],
    pictures: &mut Pictures,
) -> io::Result<Box<dyn Sink>> {
    let mut sink: Box<dyn Sink> = match tracker {
        Tracker::Tensorboard => Box::new(TensorBoard::create(run)?),
        #[cfg(feature = "trackio")]
        Tracker::Trackio => Box::new(trackio::Trackio::create(run)?),
        #[cfg(not(feature = "trackio"))]
        Tracker::Trackio => {
            return Err(io::Error::other("this program is built without its feature `trackio`"));
        }
        Tracker::Csv => Box::new(Csv::create(run)?),
    };
    sink.recipe(&fs::read_to_string(run.join("config.toml"))?)?;
    for (row, number) in rows.iter().zip(1..) {
        sink.add(&Point { number, phase: &row.phase, step: row.step, metrics: &row.metrics })?;
        if sink.shows()
            && let Some(shown) = Shown::of(run, &row.phase, row.step, number, pictures)
        {
            sink.shown(&shown)?;
        }
    }
    for point in validations {
        let Some(accuracy) = point.accuracy() else { continue };
        // Behind the last row that is not after it: for step 0 that of the phase before.
        let first = rows.iter().position(|row| row.phase == point.phase).unwrap_or(rows.len());
        let done = rows[first..].iter().filter(|row| row.phase == point.phase && row.step <= point.step);
        sink.validated((first + done.count()) as u64, &point.benchmark, accuracy)?;
    }
    Ok(sink)
}

impl Observer for Tracked<'_> {
    fn phase_started(&mut self, phase: &PhaseInfo<'_>) {
        self.inner.phase_started(phase);
    }

    fn progress(&mut self, done: usize, total: usize) {
        self.inner.progress(done, total);
    }

    fn step_done(&mut self, step: &StepReport<'_>) {
        self.track(step);
        self.inner.step_done(step);
    }

    fn validated(&mut self, phase: &str, step: u64, benchmark: &str, accuracy: f64) {
        let number = self.n_steps;
        self.each(|sink| sink.validated(number, benchmark, accuracy));
        self.inner.validated(phase, step, benchmark, accuracy);
    }

    fn message(&mut self, text: &str) {
        self.inner.message(text);
    }

    fn should_stop(&self) -> bool {
        self.inner.should_stop()
    }
}
