//! One benchmark on a checkpoint: `reft eval`.

use std::path::Path;

use reft_config::{FileData, ModelConfig, PromptConfig};
use reft_core::{Benchmark as _, SamplingParams};
use reft_eval::{Blind, EvalReport, predictions};
use reft_pipeline::Observer;
use serde_json::Value;

use crate::{
    Error,
    benchmarks::{AnyBenchmark, BenchmarkOptions},
    model,
    partial::KeepingEngine,
    table::{self, Row},
};

/// What `reft eval` asks for beside the model.
pub struct Evaluation<'a> {
    /// Which benchmark, asked and graded how.
    pub benchmark: &'a BenchmarkOptions,
    /// Its questions.
    pub data: &'a FileData,
    /// Templates for the bare questions of `generic`; chat rows are taken word for word.
    pub prompts: &'a PromptConfig,
    /// Folder for `report.json` and `predictions.parquet`.
    pub output: &'a Path,
    /// How answers are drawn.
    pub params: &'a SamplingParams,
    /// Questions that are answered together.
    pub batch: usize,
    /// Ask again with grey pictures, and say what the pictures add.
    pub blind: bool,
}

/// Asks the questions, grades the answers, and writes `report.json` and `predictions.parquet`.
pub fn evaluate(
    config: &ModelConfig,
    ask: &Evaluation<'_>,
    observer: &mut dyn Observer,
) -> Result<EvalReport, Error> {
    let policy = model::open(config)?;
    let budget = Some(policy.processor().budget());
    let benchmark = AnyBenchmark::open(ask.benchmark, ask.data, ask.prompts, budget)?;
    let output = ask.output;
    std::fs::create_dir_all(output)
        .map_err(|e| Error::File { path: output.to_owned(), message: e.to_string() })?;
    let mut answered = |benchmark: &AnyBenchmark, name: &str| -> Result<_, Error> {
        let mut engine = KeepingEngine::open(&output.join(name), config, &ask.data.path, ask.params)?;
        let graded =
            reft_pipeline::evaluate(&policy, &mut engine, benchmark, ask.params, ask.batch, observer)
                .map_err(|error| engine.explain(error, benchmark.samples().len()))?;
        Ok((graded, engine))
    };
    let (graded, engine) = answered(&benchmark, "predictions")?;
    let mut report = benchmark.evaluate(&graded)?;
    let blind = match benchmark.blind().filter(|_| ask.blind) {
        None => None,
        Some(blind) => {
            let (graded, engine) = answered(&blind, "blind")?;
            let accuracy = blind.evaluate(&graded)?.overall.accuracy;
            if let Some(published) = &mut report.published {
                published.blind = Some(Blind { accuracy, gap: report.overall.accuracy - accuracy });
            }
            Some(engine)
        }
    };

    let file_error = |path: &Path, e: &dyn std::fmt::Display| Error::File {
        path: path.to_owned(),
        message: e.to_string(),
    };
    let path = output.join("report.json");
    let json = serde_json::to_vec_pretty(&report).map_err(|e| file_error(&path, &e))?;
    reft_store::write_whole(&path, &json)?;
    let rows: Vec<Row> = predictions(&graded)
        .iter()
        .filter_map(|prediction| match serde_json::to_value(prediction) {
            Ok(Value::Object(row)) => Some(row),
            _ => None,
        })
        .collect();
    table::write(&output.join("predictions.parquet"), &rows)?;
    engine.finish()?;
    if let Some(blind) = blind {
        blind.finish()?;
    }
    Ok(report)
}
