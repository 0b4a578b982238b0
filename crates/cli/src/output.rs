//! Results on stdout: a table for people, JSON for programs.

use std::{
    borrow::Cow,
    io::{self, Write},
};

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

    /// Whether a program reads it.
    pub(crate) fn is_json(self) -> bool {
        self.json
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

/// Text of models and data sets on its way to a terminal: escape sequences become visible instead of being obeyed.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    Cow::Owned(shown)
}

/// Prints text that is the result itself.
pub(crate) fn print(text: &str) -> Result<()> {
    let text = visible(text);
    let mut stdout = io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{newline}").and_then(|()| stdout.flush()) {
        // Whoever reads (`| head`) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown() {
        assert_eq!(visible("a\tb\n\u{e9}"), "a\tb\n\u{e9}");
        assert_eq!(visible("\u{1b}[31mred\r\u{9b}"), "\\u{1b}[31mred\\r\\u{9b}");
    }
}
