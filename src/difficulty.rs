//! How difficult samples are for a model, from stored answers: `reft data difficulty`.
//!
//! Pass@K before training, the cheap stand-in for the search of ThinkLite-VL (arXiv 2504.07934): an `eval` phase with
//! `group_size = K` over the training data leaves `predictions.parquet`, this counts it, and
//! `curriculum = { type = "adarft", difficulty = "..." }` reads the result.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
};

use reft_config::{DataConfig, FileData, PromptConfig};
use reft_core::SampleId;
use reft_data::{OpenData, write};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Error, hub,
    table::{self, Row},
};

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifficultySummary {
    /// Samples with at least one answer.
    pub samples: usize,
    /// Answers read.
    pub answers: usize,
    /// Mean pass rate of the samples.
    pub pass_rate: f64,
    /// Samples without a right answer.
    pub never: usize,
    /// Samples without a wrong answer.
    pub always: usize,
}

/// Columns that say how right an answer is, 0 to 1: of evaluations, of training steps, of `reft score`.
const COLUMNS: [&str; 3] = ["grade", "reward_accuracy", "score"];

/// The answers to one sample.
#[derive(Default)]
struct Tally {
    answers: u32,
    sum: f64,
    right: u32,
}

/// Writes one row per sample, in order of id: `id`, `answers` (K), `pass_rate` (their mean), `pass_at_k` (whether any
/// is right). `input` has a row per answer with `sample` (or `id`) and one of `grade`, `reward_accuracy`, `score`.
pub fn difficulty(input: &Path, output: &Path) -> Result<DifficultySummary, Error> {
    table::check_output(output)?;
    let mut samples: BTreeMap<String, Tally> = BTreeMap::new();
    for (location, row) in table::read(input)? {
        let id = ["sample", "id"].into_iter().find_map(|name| row.get(name)?.as_str());
        let grade = COLUMNS.into_iter().find_map(|name| row.get(name)?.as_f64());
        let (Some(id), Some(grade)) = (id, grade.filter(|grade| (0.0..=1.0).contains(grade))) else {
            let message =
                format!("{location}: a row needs `sample` and one of `{}`, 0 to 1", COLUMNS.join("`, `"));
            return Err(Error::File { path: input.to_owned(), message });
        };
        let tally = samples.entry(id.to_owned()).or_default();
        tally.answers += 1;
        tally.sum += grade;
        tally.right += u32::from(grade >= 1.0);
    }

    let rates: Vec<f64> = samples.values().map(|tally| tally.sum / f64::from(tally.answers)).collect();
    let rows: Vec<Row> =
        samples.iter().zip(&rates).map(|((id, tally), rate)| row(id, tally, *rate)).collect();
    table::write(output, &rows)?;
    Ok(DifficultySummary {
        samples: samples.len(),
        answers: samples.values().map(|tally| tally.answers as usize).sum(),
        pass_rate: rates.iter().sum::<f64>() / rates.len().max(1) as f64,
        never: samples.values().filter(|tally| tally.right == 0).count(),
        always: samples.values().filter(|tally| tally.right == tally.answers).count(),
    })
}

/// Writes the samples of `data` whose pass rate in a file of [`difficulty`] lies in `keep`, and returns how many. Every
/// sample must be in the file; one that was converted may be there by its parent's id.
///
/// ThinkLite-VL (arXiv 2504.07934) trains on what is neither easy nor known to be solvable: `keep = 0.0..=0.5`, say.
pub fn select(
    data: &FileData,
    difficulty: &Path,
    keep: RangeInclusive<f64>,
    output: &Path,
) -> Result<usize, Error> {
    let broken = |message: String| Error::File { path: difficulty.to_owned(), message };
    let mut rates = HashMap::new();
    for (location, row) in table::read(difficulty)? {
        let (Some(id), Some(rate)) =
            (row.get("id").and_then(Value::as_str), row.get("pass_rate").and_then(Value::as_f64))
        else {
            return Err(broken(format!("{location}: a row needs `id` and `pass_rate`")));
        };
        rates.insert(SampleId::from(id), rate);
    }
    let open = OpenData::load(&DataConfig::File(hub::fetched_file(data)?), &PromptConfig::default())?;
    let mut kept = Vec::new();
    for sample in open.samples() {
        let rate = rates.get(&sample.id).or_else(|| rates.get(sample.parent.as_ref()?));
        let rate = rate.ok_or_else(|| {
            broken(format!("says nothing of sample `{}` of `{}`", sample.id, data.path.display()))
        })?;
        if keep.contains(rate) {
            kept.push(Arc::clone(sample));
        }
    }
    if kept.is_empty() {
        return Err(broken(format!("no sample has a pass rate from {} to {}", keep.start(), keep.end())));
    }
    write::samples(output, &kept)?;
    Ok(kept.len())
}

fn row(id: &str, tally: &Tally, pass_rate: f64) -> Row {
    [
        ("id", Value::from(id)),
        ("answers", json!(tally.answers)),
        ("pass_rate", json!(pass_rate)),
        ("pass_at_k", json!(tally.right > 0)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_sample() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in.jsonl"), dir.path().join("out.jsonl"));
        let answers = [("b", 1.0), ("a", 0.0), ("b", 0.0), ("a", 0.5), ("c", 1.0)];
        let rows: Vec<String> =
            answers.iter().map(|(id, grade)| json!({"sample": id, "grade": grade}).to_string()).collect();
        std::fs::write(&input, rows.join("\n")).unwrap();
        let summary = difficulty(&input, &output).unwrap();
        let expected =
            DifficultySummary { samples: 3, answers: 5, pass_rate: 1.75 / 3.0, never: 1, always: 1 };
        assert_eq!(summary, expected);
        let written = std::fs::read_to_string(&output).unwrap();
        let first = "{\"id\":\"a\",\"answers\":2,\"pass_rate\":0.25,\"pass_at_k\":false}\n";
        assert!(written.starts_with(first), "{written}");

        let data = dir.path().join("data.jsonl");
        let row = |id: &str| json!({"id": id, "problem": "?", "solution": "1", "task": "math"}).to_string();
        std::fs::write(&data, ["a", "b", "c"].map(row).join("\n")).unwrap();
        let kept = dir.path().join("kept.jsonl");
        let select = |keep| select(&FileData::new(&data), &output, keep, &kept).map_err(|e| e.to_string());
        assert_eq!(select(0.0..=0.5), Ok(2));
        let ids: Vec<String> = std::fs::read_to_string(&kept)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(select(0.6..=0.9).unwrap_err().contains("no sample has a pass rate from 0.6 to 0.9"));
        std::fs::write(&data, row("d")).unwrap();
        assert!(select(0.0..=1.0).unwrap_err().contains("says nothing of sample `d`"));

        for row in [json!({"grade": 1.0}), json!({"sample": "a"}), json!({"sample": "a", "score": 2})] {
            std::fs::write(&input, row.to_string()).unwrap();
            let error = difficulty(&input, &output).unwrap_err().to_string();
            assert!(error.contains("a row needs `sample` and one of `grade`"), "{error}");
        }
    }
}
