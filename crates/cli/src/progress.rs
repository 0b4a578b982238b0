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
        let resumed = match phase.done {
            0 => String::new(),
            done => format!(", resumed after step {done}"),
        };
        self.line(&format!("{title}: {} steps{resumed}", phase.total));
        if self.quiet || !self.terminal {
            return;
        }
        let bar = self.bar(&title, "{prefix} [{bar:20}] {pos}/{len}, {eta} left  {msg}");
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
        let numbers =
            [numbers(step.metrics), slowest(step.timings), format!("  run {}", self.pace.words())].concat();
        if let Some(bar) = &self.phase {
            bar.set_length(step.total);
            bar.set_position(step.step);
            bar.set_message(numbers.clone());
        }
        let every = (step.total / LINES).max(1);
        let due = step.step == 1 || step.step == step.total || step.step.is_multiple_of(every);
        if due || self.last_line.elapsed() > SILENCE {
            self.line(&format!("  {} {:>5}/{}  {numbers}", step.phase, step.step, step.total));
        }
    }

    fn message(&mut self, text: &str) {
        self.line(&format!("  note: {text}"));
    }

    fn should_stop(&self) -> bool {
        self.interrupt.asked()
    }
}

/// The numbers of a step in one line.
fn numbers(metrics: &Metrics) -> String {
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
    parts.join("  ")
}

/// The rank that others waited for, where they did so for more than a fifth of the step.
fn slowest(timings: &Metrics) -> String {
    let number = |name| timings.get(name).unwrap_or(0.0);
    let (waited, step) = (number("ranks/wait_s"), number("time/step_s"));
    if waited <= 0.2 * step {
        return String::new();
    }
    format!("  waited {waited:.1} s for rank {}", number("ranks/slowest"))
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
            numbers(&metrics)
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
            "  waited 3.2 s for rank 2"
        );
        assert_eq!(words(&[step, ("ranks/wait_s", 1.0), ("ranks/slowest", 2.0)]), "");
        assert_eq!(words(&[step]), "");
        assert_eq!(words(&[]), "");
    }
}
