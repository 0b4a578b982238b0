//! `metrics.csv`: one row a step, one column a metric, for spreadsheets and data frames.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Point, Sink};

/// The file, and what it holds.
pub(super) struct Csv {
    path: PathBuf,
    columns: BTreeSet<String>,
    rows: Vec<Row>,
}

struct Row {
    begin: String,
    numbers: Vec<(String, f64)>,
}

impl Csv {
    /// An empty one in a run directory.
    pub(super) fn create(run: &Path) -> io::Result<Self> {
        let new = Self { path: run.join("metrics.csv"), columns: BTreeSet::new(), rows: Vec::new() };
        fs::write(&new.path, new.head())?;
        Ok(new)
    }

    fn head(&self) -> String {
        ["global_step", "phase", "step"]
            .into_iter()
            .chain(self.columns.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(",")
            + "\n"
    }

    fn line(&self, row: &Row) -> String {
        let mut line = row.begin.clone();
        for column in &self.columns {
            line.push(',');
            if let Some((_, value)) = row.numbers.iter().find(|(name, _)| name == column) {
                let _ = write!(line, "{value}");
            }
        }
        line + "\n"
    }
}

impl Sink for Csv {
    fn add(&mut self, point: &Point<'_>) -> io::Result<()> {
        // Names of phases are letters, digits, `-` and `_`: nothing to quote.
        let begin = format!("{},{},{}", point.number, point.phase, point.step);
        let numbers: Vec<(String, f64)> =
            point.metrics.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let n_columns = self.columns.len();
        self.columns.extend(numbers.iter().map(|(name, _)| name.clone()));
        self.rows.push(Row { begin, numbers });
        if self.columns.len() > n_columns {
            // A phase of another kind brings other numbers: its columns are those of all rows.
            let lines: String = self.rows.iter().map(|row| self.line(row)).collect();
            return fs::write(&self.path, self.head() + &lines);
        }
        let last = self.rows.last().map(|row| self.line(row)).unwrap_or_default();
        fs::OpenOptions::new().append(true).open(&self.path)?.write_all(last.as_bytes())
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
            "global_step,phase,step,grpo/kl,reward/mean,sft/loss\n\
             1,warm,1,,,0.5\n2,warm,2,,,0.25\n3,open,1,0.000000001,1.5,\n4,open,2,,2,\n"
        );
    }
}
