//! One benchmark on a checkpoint: `reft eval`.

use std::path::Path;

use reft_config::{DataConfig, FileData, ModelConfig, PromptConfig, RewardConfig};
use reft_core::{Benchmark as _, Form, SamplingParams, Seed, StageError};
use reft_data::Dataset;
use reft_eval::{EvalReport, TaskBenchmark, predictions};
use reft_pipeline::Observer;
use serde_json::Value;

use crate::{
    Error, model,
    partial::KeepingEngine,
    table::{self, Row},
};

/// Asks the questions of `data`, grades the answers, and writes `report.json` and `predictions.parquet` into `output`.
///
/// `prompts` are the templates for rows that are bare questions; chat rows are taken word for word.
/// `batch` questions are answered together.
#[expect(clippy::too_many_arguments, reason = "one call per command; each argument is one option of it")]
pub fn evaluate(
    config: &ModelConfig,
    benchmark: &str,
    data: &FileData,
    prompts: &PromptConfig,
    output: &Path,
    params: &SamplingParams,
    batch: usize,
    observer: &mut dyn Observer,
) -> Result<EvalReport, Error> {
    let file = DataConfig::File(data.clone());
    let samples = Dataset::load(&file, prompts, &[Form::Open], Seed::new(0))?.samples;
    let policy = model::open(config)?;
    let budget = Some(policy.processor().budget());
    let benchmark =
        TaskBenchmark::new(benchmark, samples, &RewardConfig::default(), budget).map_err(StageError::from)?;

    std::fs::create_dir_all(output)
        .map_err(|e| Error::File { path: output.to_owned(), message: e.to_string() })?;
    let mut engine = KeepingEngine::open(&output.join("predictions"), config, &data.path, params)?;
    let graded = reft_pipeline::evaluate(&policy, &mut engine, &benchmark, params, batch, observer)
        .map_err(|error| engine.explain(error, benchmark.samples().len()))?;
    let report = benchmark.evaluate(&graded)?;

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
    Ok(report)
}
