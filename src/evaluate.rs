//! Benchmarks on a checkpoint: `reft eval`.

use std::path::Path;

use reft_config::{BenchmarkConfig, FleetConfig, ModelConfig, PromptConfig};
use reft_core::{Benchmark as _, PixelBudget, RolloutEngine, SamplingParams, StageError};
use reft_eval::{Blind, EvalReport, predictions};
use reft_fleet::ServerEngine;
use reft_pipeline::Observer;
use reft_rollout::GenerationEngine;
use serde_json::{Value, json};

use crate::{
    Error,
    benchmarks::{AnyBenchmark, GENERIC, against, check_names},
    model,
    partial::{KeepingEngine, of_model},
    table::{self, Row},
};

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub enum Answerer<'a> {
    /// A model of this process.
    Model(&'a ModelConfig),
    /// A model behind servers.
    Servers(&'a FleetConfig),
}

/// What `reft eval` asks for beside the model.
pub struct Evaluation<'a> {
    /// Which benchmarks, asked and graded how. Several get a folder each in `output`, by their labels.
    pub benchmarks: &'a [BenchmarkConfig],
    /// Templates for the bare questions of `generic`; chat rows are taken word for word.
    pub prompts: &'a PromptConfig,
    /// Folder for `report.json` and `predictions.parquet`.
    pub output: &'a Path,
    /// How answers are drawn.
    pub params: &'a SamplingParams,
    /// Questions that are answered together.
    pub batch: usize,
    /// Predictions of an earlier evaluation to compare with: a file, or a folder with a folder for each benchmark.
    pub against: Option<&'a Path>,
    /// Ask again with grey pictures, and say what the pictures add.
    pub blind: bool,
}

/// Asks the questions, grades the answers, and writes `report.json` and `predictions.parquet` of each benchmark. All are
/// opened before the first is asked.
pub fn evaluate(
    who: Answerer<'_>,
    ask: &Evaluation<'_>,
    observer: &mut dyn Observer,
) -> Result<Vec<EvalReport>, Error> {
    match who {
        Answerer::Model(config) => {
            let config = &model::fetched(config)?;
            let policy = model::open(config)?;
            let budget = policy.processor().budget();
            let engine = || Ok(GenerationEngine::default());
            evaluate_by(
                &By { policy: &policy, engine: &engine, who: of_model(config) },
                budget,
                ask,
                observer,
            )
        }
        Answerer::Servers(config) => {
            let failed = |error| StageError::other("servers", error);
            let engine = || Ok(ServerEngine::new(config).map_err(failed)?);
            evaluate_by(
                &By { policy: &(), engine: &engine, who: json!({"servers": config}) },
                None,
                ask,
                observer,
            )
        }
    }
}

/// An engine, and the policy that it asks.
struct By<'a, P: ?Sized, E> {
    policy: &'a P,
    engine: &'a dyn Fn() -> Result<E, Error>,
    /// Tells answers from those of others.
    who: Value,
}

fn evaluate_by<P: ?Sized, E: RolloutEngine<P>>(
    by: &By<'_, P, E>,
    budget: Option<PixelBudget>,
    ask: &Evaluation<'_>,
    observer: &mut dyn Observer,
) -> Result<Vec<EvalReport>, Error> {
    let open = |benchmark| Ok((benchmark, AnyBenchmark::open(benchmark, ask.prompts, budget)?));
    let opened: Vec<(&BenchmarkConfig, AnyBenchmark)> =
        ask.benchmarks.iter().map(open).collect::<Result<_, Error>>()?;
    if opened.len() > 1 {
        check_names(opened.iter().map(|(_, benchmark)| benchmark.name()))?;
    }
    if ask.blind && opened.iter().all(|(_, benchmark)| matches!(benchmark, AnyBenchmark::Generic(_))) {
        let message = format!("`{GENERIC}` has no questions with grey pictures; leave `--blind` out");
        return Err(StageError::other("benchmark", message).into());
    }
    let one = opened.len() == 1;
    let run = |(settings, benchmark): &(&BenchmarkConfig, AnyBenchmark)| {
        let output = if one { ask.output.to_owned() } else { ask.output.join(benchmark.name()) };
        if !one {
            observer.message(&format!("benchmark {}", benchmark.name()));
        }
        evaluate_one(by, &settings.path, benchmark, &output, ask, observer)
    };
    opened.iter().map(run).collect()
}

fn evaluate_one<P: ?Sized, E: RolloutEngine<P>>(
    by: &By<'_, P, E>,
    data: &Path,
    benchmark: &AnyBenchmark,
    output: &Path,
    ask: &Evaluation<'_>,
    observer: &mut dyn Observer,
) -> Result<EvalReport, Error> {
    std::fs::create_dir_all(output)
        .map_err(|e| Error::File { path: output.to_owned(), message: e.to_string() })?;
    let mut answered = |benchmark: &AnyBenchmark, name: &str| -> Result<_, Error> {
        let mut engine = KeepingEngine::open(&output.join(name), (by.engine)()?, &by.who, data, ask.params)?;
        let graded =
            reft_pipeline::evaluate(by.policy, &mut engine, benchmark, ask.params, ask.batch, observer)
                .map_err(|error| engine.explain(error, benchmark.samples().len()))?;
        Ok((graded, engine))
    };
    let (graded, engine) = answered(benchmark, "predictions")?;
    let mut report = benchmark.evaluate(&graded)?;
    if let Some(earlier) = ask.against {
        let several = earlier.join(benchmark.name());
        report.against = Some(against(&graded, if several.is_dir() { &several } else { earlier })?);
    }
    let blind = match if ask.blind { benchmark.blind() } else { None } {
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
