//! Checks one after another, and the table of what they found.

use std::{
    io::{self, Write as _},
    time::Instant,
};

use anyhow::Result;

/// A line for the person who waits.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What has been checked.
#[derive(Default)]
pub(crate) struct Checks(Vec<Checked>);

struct Checked {
    name: String,
    seconds: f64,
    found: Result<String, String>,
}

impl Checks {
    /// Runs one check and says what it finds: words about what is well, or an error.
    pub(crate) fn run(&mut self, name: &str, check: impl FnOnce() -> Result<String>) {
        say(&format!("==> {name}"));
        let started = Instant::now();
        let found = check().map_err(|error| format!("{error:#}"));
        let seconds = started.elapsed().as_secs_f64();
        match &found {
            Ok(words) => say(&format!("    {words} ({seconds:.1} s)")),
            Err(words) => say(&format!("    FAILED: {words} ({seconds:.1} s)")),
        }
        self.0.push(Checked { name: name.to_owned(), seconds, found });
    }

    pub(crate) fn all_well(&self) -> bool {
        self.0.iter().all(|checked| checked.found.is_ok())
    }

    /// All of them in Markdown.
    pub(crate) fn table(&self) -> String {
        let row = |Checked { name, seconds, found }: &Checked| {
            let words = match found {
                Ok(words) => words.clone(),
                Err(words) => format!("**failed**: {words}"),
            };
            // A line break or a bar would end the cell.
            let words = words.trim().replace('\n', "; ").replace('|', "/");
            format!("| {name} | {words} | {seconds:.1} |\n")
        };
        let rows: String = self.0.iter().map(row).collect();
        format!("| check | result | seconds |\n|---|---|---|\n{rows}")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_failed_check_is_a_row_and_stops_nothing() {
        let mut checks = Checks::default();
        checks.run("one", || Err(anyhow!("a|b\nc")));
        assert!(!checks.all_well());
        checks.run("two", || Ok("fine".into()));
        let table = checks.table();
        assert!(table.contains("| one | **failed**: a/b; c | 0.0 |"), "{table}");
        assert!(table.contains("| two | fine | 0.0 |"), "{table}");
    }
}
