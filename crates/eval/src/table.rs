//! Tables of scores: rows and columns as the published reports have them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Interval, Item, Mark, wilson};

/// A marked answer with its question.
#[derive(Clone, Copy, Debug)]
pub struct Marked<'a> {
    /// The question.
    pub item: &'a Item,
    /// The mark.
    pub mark: &'a Mark,
}

impl Marked<'_> {
    pub(crate) fn score(&self) -> f64 {
        f64::from(self.mark.score)
    }
}

/// Cells by row and column, both in the order in which they came up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows by name; a cell without a number is none.
    pub rows: Vec<TableRow>,
}

/// A row of a [`Table`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// Its name.
    pub name: String,
    /// Numbers by column.
    pub cells: Vec<Option<f64>>,
}

impl Table {
    /// Sets a cell.
    pub(crate) fn set(&mut self, row: &str, column: &str, number: f64) {
        let at = self.columns.iter().position(|name| name == column).unwrap_or_else(|| {
            self.columns.push(column.to_owned());
            self.columns.len() - 1
        });
        let index = self.rows.iter().position(|known| known.name == row).unwrap_or_else(|| {
            self.rows.push(TableRow { name: row.to_owned(), cells: Vec::new() });
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.cells.resize(row.cells.len().max(at + 1), None);
        row.cells[at] = Some(number);
    }

    /// A cell.
    pub fn get(&self, row: &str, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|name| name == column)?;
        *self.rows.iter().find(|known| known.name == row)?.cells.get(at)?
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(4);
        write!(f, "{:<name$}", "")?;
        for column in &self.columns {
            write!(f, "  {column:>8}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:<name$}", row.name)?;
            for (column, cell) in self.columns.iter().zip(row.cells.iter().chain(std::iter::repeat(&None))) {
                let width = column.chars().count().max(8);
                match cell {
                    Some(number) if number.fract() == 0.0 => write!(f, "  {number:>width$}")?,
                    Some(number) => write!(f, "  {number:>width$.2}")?,
                    None => write!(f, "  {:>width$}", "")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Mean score in percent; 0 of nothing.
pub(crate) fn percent<'a>(marked: impl IntoIterator<Item = &'a Marked<'a>>) -> f64 {
    100.0 * mean(marked.into_iter().map(Marked::score))
}

/// The mean of numbers; 0 of none.
pub(crate) fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = numbers.into_iter().fold((0.0, 0_usize), |(sum, n), x| (sum + x, n + 1));
    sum / n.max(1) as f64
}

/// Values of a key in the order in which they come up, with the marked answers that have them.
pub(crate) fn by<'a>(
    marked: &[Marked<'a>],
    key: impl Fn(&Item) -> Vec<String>,
) -> Vec<(String, Vec<Marked<'a>>)> {
    let mut groups: Vec<(String, Vec<Marked<'a>>)> = Vec::new();
    for one in marked {
        for value in key(one.item) {
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, members)) => members.push(*one),
                None => groups.push((value, vec![*one])),
            }
        }
    }
    groups
}

/// The score of the questions that share a value of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyScore {
    /// The key, as the benchmark's files name it.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Questions that have it.
    pub questions: usize,
    /// Mean score of their first answers, 0 to 1.
    pub accuracy: f64,
    /// Its 95 % interval (Wilson).
    pub interval: Interval,
}

/// Scores by every value of some keys.
pub(crate) fn by_key(
    marked: &[Marked<'_>],
    keys: &[&str],
    values: impl Fn(&Item, &str) -> Vec<String>,
) -> Vec<KeyScore> {
    let mut scores = Vec::new();
    for key in keys {
        for (value, members) in by(marked, |item| values(item, key)) {
            let right: f64 = members.iter().map(Marked::score).sum();
            scores.push(KeyScore {
                key: (*key).to_owned(),
                value,
                questions: members.len(),
                accuracy: right / members.len() as f64,
                interval: wilson(right, members.len()),
            });
        }
    }
    scores
}

/// Percent right with its 95 % interval, right answers and questions, over all and for each value of some keys, a row each.
pub(crate) fn accuracy(marked: &[Marked<'_>], keys: &[&str]) -> Table {
    let mut table = Table::default();
    let mut row = |name: &str, members: &[Marked<'_>]| {
        let hits: f64 = members.iter().map(Marked::score).sum();
        let interval = wilson(hits, members.len());
        table.set(name, "acc", percent(members));
        table.set(name, "low", 100.0 * interval.low);
        table.set(name, "high", 100.0 * interval.high);
        table.set(name, "hit", hits);
        table.set(name, "tot", members.len() as f64);
    };
    row("Overall", marked);
    for key in keys {
        for (value, members) in by(marked, |item| item.values(key)) {
            row(&value, &members);
        }
    }
    table
}
