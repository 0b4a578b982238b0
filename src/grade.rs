//! Grades stored predictions: `reft grade`.

use std::path::Path;

use reft_config::{BenchmarkConfig, PromptConfig};
use reft_core::SampleId;
use reft_data::DataError;
use reft_eval::{EvalReport, Missing, grade_texts};
use serde_json::Value;

use crate::{
    Error,
    benchmarks::{AnyBenchmark, against},
    table::{self, Row},
};

/// The names under which a row may give the question and the answer.
const ID: [&str; 3] = ["id", "sample", "index"];
const TEXT: [&str; 5] = ["completion", "completions", "output", "prediction", "text"];

/// Grades `predictions` (rows with `id` and `completion`) on the questions of a benchmark, without a model.
pub fn grade(
    benchmark: &BenchmarkConfig,
    predictions: &Path,
    missing: Missing,
    earlier: Option<&Path>,
) -> Result<EvalReport, Error> {
    let benchmark = AnyBenchmark::open(benchmark, &PromptConfig::default(), None)?;
    let mut texts = Vec::new();
    for (location, row) in table::read(predictions)? {
        let (id, answers) = prediction(&row).map_err(|message| {
            Error::Data(DataError::Row { path: predictions.to_owned(), location, message })
        })?;
        texts.extend(answers.into_iter().map(|text| (id.clone(), text)));
    }
    let graded = grade_texts(&benchmark, &texts, missing)?;
    let mut report = benchmark.evaluate(&graded)?;
    report.against = earlier.map(|earlier| against(&graded, earlier)).transpose()?;
    Ok(report)
}

fn prediction(row: &Row) -> Result<(SampleId, Vec<String>), String> {
    let missing = |names: &[&str]| format!("none of the columns `{}` is there", names.join("`, `"));
    let id = match first(row, &ID) {
        Some(Value::String(id)) => SampleId::from(id),
        Some(id @ Value::Number(_)) => SampleId::from(id.to_string()),
        _ => return Err(missing(&ID)),
    };
    let answers = match first(row, &TEXT) {
        Some(Value::Array(answers)) => answers.iter().map(answer).collect::<Option<_>>(),
        Some(one) => answer(one).map(|text| vec![text]),
        None => return Err(missing(&TEXT)),
    };
    Ok((id, answers.ok_or("the completion is neither text nor an object with `text`")?))
}

fn first<'a>(row: &'a Row, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| row.get(*name).filter(|value| !value.is_null()))
}

fn answer(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("text")?.as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::benchmarks::GENERIC;

    /// Two questions, and a file of predictions.
    fn graded(predictions: &str) -> Result<EvalReport, Error> {
        let dir = tempfile::tempdir().unwrap();
        let (data, file) = (dir.path().join("data.jsonl"), dir.path().join("predictions.jsonl"));
        let row = |id: &str, solution: u8| {
            format!(
                "{{\"id\": \"{id}\", \"problem\": \"?\", \"solution\": \"{solution}\", \"task\": \"math\"}}\n"
            )
        };
        fs::write(&data, row("a", 1) + &row("b", 2)).unwrap();
        fs::write(&file, predictions).unwrap();
        let generic =
            BenchmarkConfig { name: GENERIC.to_owned(), path: data.clone(), ..BenchmarkConfig::default() };
        grade(&generic, &file, Missing::Refuse, None)
    }

    #[test]
    fn predictions_in_any_order_and_shape() {
        for predictions in [
            "{\"id\": \"b\", \"completion\": \"<answer>2</answer>\"}\n{\"id\": \"a\", \"completion\": \"3\"}\n",
            "{\"sample\": \"a\", \"text\": \"3\"}\n{\"id\": \"b\", \"completions\": [{\"text\": \"<answer>2</answer>\"}]}\n",
        ] {
            let report = graded(predictions).unwrap();
            assert_eq!((report.overall.questions, report.overall.accuracy), (2, 0.5), "{predictions}");
        }
    }

    #[test]
    fn what_cannot_be_graded() {
        for (predictions, expected) in [
            ("{\"id\": \"a\", \"completion\": \"1\"}\n", "b"),
            ("{\"completion\": \"1\"}\n", "line 1: none of the columns `id`, `sample`"),
            ("{\"id\": \"a\"}\n", "line 1: none of the columns `completion`"),
            ("{\"id\": \"a\", \"completion\": 1}\n", "line 1: the completion is neither text"),
        ] {
            let error = graded(predictions).unwrap_err().to_string();
            assert!(error.contains(expected), "{predictions}: {error}");
        }
    }
}
