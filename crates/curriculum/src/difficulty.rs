//! How difficult samples are, 0 to 100: from a file, or by form.

use std::{collections::HashMap, path::Path, sync::Arc};

use reft_core::{Form, Sample};
use serde::Deserialize;

use crate::CurriculumError;

/// The form as the difficulty: binary 0, choice 50, open 100.
pub(crate) fn by_form(pool: &[Arc<Sample>]) -> Vec<f64> {
    let of = |form| match form {
        Form::Binary => 0.0,
        Form::Choice => 50.0,
        Form::Open => 100.0,
    };
    pool.iter().map(|sample| of(sample.form)).collect()
}

/// A line of the file: exactly one of the two numbers. Other keys say how it was measured (`reft data difficulty`).
#[derive(Deserialize)]
struct Row {
    id: String,
    difficulty: Option<f64>,
    /// Difficulty 100 (1 - pass rate).
    pass_rate: Option<f64>,
}

impl Row {
    fn difficulty(&self) -> Option<f64> {
        let difficulty = match (self.difficulty, self.pass_rate) {
            (Some(difficulty), None) => difficulty,
            (None, Some(rate)) => 100.0 * (1.0 - rate),
            _ => return None,
        };
        (0.0..=100.0).contains(&difficulty).then_some(difficulty)
    }
}

/// The difficulties of a pool from JSON lines. A sample made from an open one may be listed by its parent's id.
pub(crate) fn read(path: &Path, pool: &[Arc<Sample>]) -> Result<Vec<f64>, CurriculumError> {
    let broken = |message: String| CurriculumError::DifficultyFile { path: path.to_owned(), message };
    let text = reft_core::read_text(path).map_err(|error| broken(error.to_string()))?;
    let mut known = HashMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Row =
            serde_json::from_str(line).map_err(|error| broken(format!("line {}: {error}", i + 1)))?;
        let difficulty = row.difficulty().ok_or_else(|| {
            broken(format!(
                "line {}: give either `difficulty` from 0 to 100 or `pass_rate` from 0 to 1",
                i + 1
            ))
        })?;
        known.insert(row.id, difficulty);
    }
    let of = |sample: &Sample| {
        let parent = sample.parent.as_ref().and_then(|parent| known.get(parent.as_str()));
        known.get(sample.id.as_str()).or(parent).copied()
    };
    let unknown: Vec<&Arc<Sample>> = pool.iter().filter(|sample| of(sample).is_none()).collect();
    match unknown.first() {
        Some(first) => Err(broken(format!(
            "it says nothing of {} of the {} samples, for example `{}`; list every sample",
            unknown.len(),
            pool.len(),
            first.id
        ))),
        None => Ok(pool.iter().filter_map(|sample| of(sample)).collect()),
    }
}
