//! What a person sees while a run works: bars with time left and the current numbers, and a line now and then.
//!
//! On a terminal the lines scroll above two bars: the phase, and the completions of the step at hand.
//! Each line ends with the time of the whole run: what it took so far in this process, and what is left.
//! In a log file there are only the lines.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use curr_reft::{
    core::Metrics,
    pipeline::{Observer, PhaseInfo, StepReport},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{interrupt::Interrupt, output::visible, pace::Pace};

/// Lines per phase, next to its first and last step.
const LINES: u64 = 10;

/// Columns of a bar beside title and message: percent, bar, steps, time left.
const BAR: usize = 52;

/// Without a terminal, at least one line in this time.
const SILENCE: Duration = Duration::from_secs(30);

/// Which numbers of a step are shown, in order: metric, label, how it is written.
const SHOWN: [(&str, &str, Shape); 10] = [
    ("reward/mean", "reward", Shape::Number),
    ("reward/accuracy", "right", Shape::Share),
    ("reward/format", "format", Shape::Share),
    ("groups/mixed", "mixed", Shape::Share),
    ("grpo/kl", "kl", Shape::Small),
    ("sft/loss", "loss", Shape::Number),
    ("reject/score_mean", "score", Shape::Number),
    ("reject/questions_kept", "kept", Shape::Share),
    ("completion/length_mean", "tokens", Shape::Number),
    ("completion/truncated", "cut", Shape::Share),
];

#[derive(Clone, Copy)]
enum Shape {
    Number,
    Small,
    Share,
}

/// Shows a run and passes on Ctrl-C.
pub(crate) struct Watch {
    interrupt: Interrupt,
    quiet: bool,
    terminal: bool,
    bars: MultiProgress,
    phase: Option<ProgressBar>,
    step: Option<ProgressBar>,
    pace: Pace,
    /// Columns of the phase's title.
    title_width: usize,
    last_line: Instant,
}

impl Watch {
    pub(crate) fn new(interrupt: Interrupt, quiet: bool) -> Self {
        Self {
            interrupt,
            quiet,
            terminal: io::stderr().is_terminal(),
            bars: MultiProgress::new(),
            phase: None,
            step: None,
            pace: Pace::new(),
            title_width: 0,
            last_line: Instant::now(),
        }
    }

    /// A bar for work that is not a run: `done` of `total` completions.
    pub(crate) fn simple(&mut self, what: &str) {
        self.clear();
        if !self.quiet {
            self.phase = Some(self.bar(what, "{prefix} {wide_bar} {pos}/{len} completions, {eta} left"));
        }
    }

    /// Takes the bars away, so that what follows is printed on clean lines.
    pub(crate) fn clear(&mut self) {
        for bar in [self.step.take(), self.phase.take()].into_iter().flatten() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Columns beside `taken` others; in a file there are as many as it takes.
    fn room(&self, taken: usize) -> usize {
        if !self.terminal {
            return usize::MAX;
        }
        let (_rows, columns) = console::Term::stderr().size();
        usize::from(columns).saturating_sub(taken)
    }

    /// A line above the bars.
    fn line(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        self.last_line = Instant::now();
        let text = &*visible(text);
        // A hidden bar prints nothing, not even its lines.
        let _ = if self.terminal { self.bars.println(text) } else { writeln!(io::stderr(), "{text}") };
    }

    fn bar(&self, prefix: &str, template: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(0));
        // The templates are constants of this file; a default bar is better than a panic.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(prefix.to_owned());
        bar
    }
}

impl Observer for Watch {
    fn phase_started(&mut self, phase: &PhaseInfo<'_>) {
        self.clear();
        self.pace.phase(phase);
        let title = format!("[{}/{}] {} ({})", phase.index + 1, phase.phases, phase.name, phase.kind);
        self.title_width = title.chars().count();
        let resumed = match phase.done {
            0 => String::new(),
            done => format!(", resumed after step {done}"),
        };
        self.line(&format!("{title}: {} steps of {}{resumed}", phase.total, phase.batch));
        if self.quiet || !self.terminal {
            return;
        }
        let bar = self.bar(&title, "{prefix} {percent:>3}% [{bar:20}] {pos}/{len}, {eta} left  {msg}");
        bar.set_length(phase.total);
        bar.set_position(phase.done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        self.phase = Some(bar);
        self.step = Some(self.bar("", "  answering [{bar:20}] {pos}/{len} completions"));
    }

    fn progress(&mut self, done: usize, total: usize) {
        if let Some(bar) = self.step.as_ref().or(self.phase.as_ref()) {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    fn step_done(&mut self, step: &StepReport<'_>) {
        self.pace.step(step.step);
        // What matters most comes first: what a narrow terminal has no room for is left out.
        let mut parts = vec![format!("run {}", self.pace.words())];
        parts.extend(numbers(step.metrics));
        parts.extend(slowest(step.timings));
        parts.extend(memory());
        if let Some(bar) = &self.phase {
            bar.set_length(step.total);
            bar.set_position(step.step);
            bar.set_message(fitting(&parts, self.room(self.title_width + BAR)));
        }
        let every = (step.total / LINES).max(1);
        let due = step.step == 1 || step.step == step.total || step.step.is_multiple_of(every);
        if due || self.last_line.elapsed() > SILENCE {
            let start = format!("  {} {:>5}/{}  ", step.phase, step.step, step.total);
            let room = self.room(start.chars().count());
            self.line(&format!("{start}{}", fitting(&parts, room)));
        }
    }

    fn validated(&mut self, phase: &str, step: u64, benchmark: &str, accuracy: f64) {
        self.line(&format!("  {phase} after {step} steps: {benchmark} {:.1}%", 100.0 * accuracy));
    }

    fn message(&mut self, text: &str) {
        self.line(&format!("  note: {text}"));
    }

    fn should_stop(&self) -> bool {
        self.interrupt.asked()
    }
}

/// As many parts as there are columns for, whole ones; the first in any case.
fn fitting(parts: &[String], columns: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { "  " };
        let is_first = line.is_empty();
        if !is_first && line.chars().count() + gap.len() + part.chars().count() > columns {
            break;
        }
        line.push_str(gap);
        line.push_str(part);
    }
    line
}

/// What the process holds of the machine's memory.
fn memory() -> Option<String> {
    let held = memory_stats::memory_stats()?.physical_mem;
    Some(format!("{:.1} GiB", held as f64 / f64::from(1 << 30)))
}

/// The numbers of a step.
pub(crate) fn numbers(metrics: &Metrics) -> Vec<String> {
    let mut parts: Vec<String> = SHOWN
        .iter()
        .filter_map(|&(name, label, shape)| {
            let value = metrics.get(name)?;
            Some(match shape {
                Shape::Number => format!("{label} {value:.2}"),
                Shape::Small => format!("{label} {value:.4}"),
                Shape::Share => format!("{label} {:.0}%", value * 100.0),
            })
        })
        .collect();
    let benchmarks = metrics.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("eval/")?.strip_suffix("/accuracy")?;
        Some(format!("{name} {:.1}%", value * 100.0))
    });
    parts.extend(benchmarks);
    parts
}

/// The rank that others waited for, where they did so for more than a fifth of the step.
fn slowest(timings: &Metrics) -> Option<String> {
    let number = |name| timings.get(name).unwrap_or(0.0);
    let (waited, step) = (number("ranks/wait_s"), number("time/step_s"));
    (waited > 0.2 * step).then(|| format!("waited {waited:.1} s for rank {}", number("ranks/slowest")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_in_one_line() {
        let line = |pairs: &[(&str, f64)]| {
            let mut metrics = Metrics::new();
            for &(name, value) in pairs {
                metrics.set(name, value);
            }
            numbers(&metrics).join("  ")
        };
        assert_eq!(
            line(&[("grpo/kl", 0.00123), ("reward/mean", 1.5), ("groups/mixed", 0.625), ("other", 1.0)]),
            "reward 1.50  mixed 62%  kl 0.0012"
        );
        assert_eq!(line(&[("eval/digits/accuracy", 0.5), ("eval/digits/questions", 60.0)]), "digits 50.0%");
        assert_eq!(line(&[]), "");
    }

    #[test]
    fn the_slowest_rank_is_named_where_it_matters() {
        let words = |pairs: &[(&str, f64)]| {
            let mut timings = Metrics::new();
            for &(name, value) in pairs {
                timings.set(name, value);
            }
            slowest(&timings)
        };
        let step = ("time/step_s", 10.0);
        assert_eq!(
            words(&[step, ("ranks/wait_s", 3.21), ("ranks/slowest", 2.0)]),
            Some("waited 3.2 s for rank 2".to_owned())
        );
        assert_eq!(words(&[step, ("ranks/wait_s", 1.0), ("ranks/slowest", 2.0)]), None);
        assert_eq!(words(&[step]), None);
        assert_eq!(words(&[]), None);
    }

    #[test]
    fn a_line_has_whole_parts() {
        let parts = ["run 2m, 8m left", "reward 1.50", "mixed 62%"].map(str::to_owned);
        assert_eq!(fitting(&parts, usize::MAX), "run 2m, 8m left  reward 1.50  mixed 62%");
        assert_eq!(fitting(&parts, 39), "run 2m, 8m left  reward 1.50  mixed 62%");
        assert_eq!(fitting(&parts, 38), "run 2m, 8m left  reward 1.50");
        assert_eq!(fitting(&parts, 3), "run 2m, 8m left");
        assert_eq!(fitting(&[], 10), "");
    }
}
