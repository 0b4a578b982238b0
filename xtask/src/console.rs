//! What the user sees: headings, remarks, and a download bar that also reads well in a log file.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// A line on stderr. Losing one is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A heading that separates the stages of a command.
pub(crate) fn heading(text: &str) {
    let bold = io::stderr().is_terminal();
    say(&if bold { format!("\n\x1b[1m==> {text}\x1b[0m") } else { format!("\n==> {text}") });
}

/// Progress in bytes: one line that rewrites itself on a terminal, a line every ten seconds elsewhere.
pub(crate) struct Bar {
    total: Option<u64>,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Bar {
    pub(crate) fn new(what: &str, total: Option<u64>) -> Self {
        say(what);
        Self { total, started: Instant::now(), shown: None, terminal: io::stderr().is_terminal() }
    }

    /// Learns the total where it was not known; a pinned total is more exact than an announced one.
    pub(crate) fn set_total(&mut self, total: u64) {
        self.total.get_or_insert(total);
    }

    pub(crate) fn show(&mut self, done: u64) {
        let pause = Duration::from_millis(if self.terminal { 200 } else { 10_000 });
        let last = self.shown.unwrap_or(self.started);
        if last.elapsed() < pause || done == 0 {
            return;
        }
        self.shown = Some(Instant::now());
        let line = describe(done, self.total, self.started.elapsed());
        let mut stderr = io::stderr();
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K  {line}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "  {line}")
        };
    }

    pub(crate) fn finish(self) {
        if self.terminal && self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        let seconds = self.started.elapsed().as_secs_f64();
        say(&format!("  done in {seconds:.0} s"));
    }
}

/// `210 of 531 MB (39 %), 21 MB/s, 15 s left`.
fn describe(done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let rate_text = format!("{:.1} MB/s", rate / 1e6);
    match total {
        Some(total) if total > 0 => {
            let share = (done as f64 / total as f64).min(1.0);
            let left = total.saturating_sub(done) as f64 / rate.max(1.0);
            format!(
                "{:.0} of {:.0} MB ({:.0} %), {rate_text}, {left:.0} s left",
                megabytes(done),
                megabytes(total),
                share * 100.0
            )
        }
        _ => format!("{:.0} MB, {rate_text}", megabytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_words() {
        for (done, total, seconds, words) in [
            (210_000_000, Some(530_000_000), 10, "210 of 530 MB (40 %), 21.0 MB/s, 15 s left"),
            (540_000_000, Some(530_000_000), 10, "540 of 530 MB (100 %), 54.0 MB/s, 0 s left"),
            (5_000_000, None, 2, "5 MB, 2.5 MB/s"),
        ] {
            assert_eq!(describe(done, total, Duration::from_secs(seconds)), words);
        }
    }
}
