//! Results on stdout: a table for people, JSON for programs.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// Where results go, and in which shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result: as JSON when asked to, else as the text.
    pub(crate) fn print(self, result: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        let text = if self.json { serde_json::to_string_pretty(result)? } else { text() };
        print(&text)
    }

    /// Prints a result that people get in other words.
    pub(crate) fn print_if_json(self, result: &impl Serialize) -> Result<()> {
        if self.json { print(&serde_json::to_string_pretty(result)?) } else { Ok(()) }
    }
}

/// Prints text that is the result itself.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{newline}").and_then(|()| stdout.flush()) {
        // Whoever reads (`| head`) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
