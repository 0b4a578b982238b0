//! `metrics.csv`: one row a step, one column a metric, for spreadsheets and data frames.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Point, Sink};

/// The file, and its columns.
pub(super) struct Csv {
    path: PathBuf,
    /// Metrics in the order in which they came.
    columns: Vec<String>,
}

impl Csv {
    /// An empty one in a run directory.
    pub(super) fn create(run: &Path) -> io::Result<Self> {
        let new = Self { path: run.join("metrics.csv"), columns: Vec::new() };
        fs::write(&new.path, new.head())?;
        Ok(new)
    }

    fn head(&self) -> String {
        let columns = self.columns.iter().map(String::as_str);
        ["global_step", "phase", "step"].into_iter().chain(columns).collect::<Vec<_>>().join(",") + "\n"
    }

    /// Adds columns, empty in the rows so far: a phase of another kind brings other numbers.
    fn widen(&mut self, new: Vec<String>) -> io::Result<()> {
        let text = fs::read_to_string(&self.path)?;
        let empty = ",".repeat(new.len());
        self.columns.extend(new);
        let rows = text.lines().skip(1).map(|row| format!("{row}{empty}\n"));
        fs::write(&self.path, self.head() + &rows.collect::<String>())
    }
}

impl Sink for Csv {
    fn add(&mut self, point: &Point<'_>) -> io::Result<()> {
        let names = point.metrics.iter().map(|(name, _)| name);
        let new: Vec<String> = names
            .filter(|name| self.columns.iter().all(|column| column != name))
            .map(str::to_owned)
            .collect();
        if !new.is_empty() {
            self.widen(new)?;
        }
        // Names of phases are letters, digits, `-` and `_`: nothing to quote.
        let mut line = format!("{},{},{}", point.number, point.phase, point.step);
        for column in &self.columns {
            line.push(',');
            if let Some(value) = point.metrics.get(column) {
                let _ = write!(line, "{value}");
            }
        }
        line.push('\n');
        fs::OpenOptions::new().append(true).open(&self.path)?.write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use reft_core::Metrics;

    use super::*;

    #[test]
    fn columns_come_when_their_numbers_do() {
        let run = tempfile::tempdir().unwrap();
        let mut csv = Csv::create(run.path()).unwrap();
        for (number, phase, step, numbers) in [
            (1, "warm", 1, &[("sft/loss", 0.5)][..]),
            (2, "warm", 2, &[("sft/loss", 0.25)]),
            (3, "open", 1, &[("grpo/kl", 1e-9), ("reward/mean", 1.5)]),
            (4, "open", 2, &[("reward/mean", 2.0)]),
        ] {
            let mut metrics = Metrics::new();
            for &(name, value) in numbers {
                metrics.set(name, value);
            }
            csv.add(&Point { number, phase, step, metrics: &metrics }).unwrap();
        }
        assert_eq!(
            fs::read_to_string(run.path().join("metrics.csv")).unwrap(),
            "global_step,phase,step,sft/loss,grpo/kl,reward/mean\n\
             1,warm,1,0.5,,\n2,warm,2,0.25,,\n3,open,1,,0.000000001,1.5\n4,open,2,,,2\n"
        );
    }
}
