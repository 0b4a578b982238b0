//! Which benchmark, asked and graded how: shared by `eval` and `grade`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use curr_reft::config::{BenchmarkConfig, ChatConfig, FileData, Grader, Harness};

use super::RowArgs;

#[derive(Debug, Args)]
pub(crate) struct BenchmarkArgs {
    /// A benchmark of docs/BENCHMARKS_VLM.md (mathvista, mmbench, mmmu, ...), or `generic`, which grades rows of any kind
    /// by the rewards of training.
    #[arg(long, value_name = "NAME")]
    benchmark: Option<String>,
    /// Its questions as published: `.parquet`, `.tsv`, `.json`, `.jsonl` or `.arrow`.
    #[arg(long, value_name = "FILE", requires = "benchmark")]
    data: Option<PathBuf>,
    #[command(flatten)]
    rows: RowArgs,
    /// Only the first questions; 0 takes all.
    #[arg(long, default_value_t = 0, value_name = "N", requires = "benchmark")]
    limit: usize,
    /// Whose verdicts: ours, authors, vlmeval, lmms, or another that the benchmark has; a wrong name lists them.
    #[arg(long, value_name = "NAME", requires = "benchmark")]
    grader: Option<Grader>,
    /// Whose prompt the questions are put in.
    #[arg(long, value_enum, default_value_t = HarnessArg::Vlmeval, value_name = "HARNESS", requires = "benchmark")]
    prompt: HarnessArg,
    /// Words behind every prompt: what the model was trained to be asked.
    #[arg(long, default_value = "", value_name = "TEXT", requires = "benchmark")]
    suffix: String,
    /// Grade what stands in the answer tags, where there are tags.
    #[arg(long, requires = "benchmark")]
    strip_tags: bool,
    /// A judge with OpenAI's protocol: its address without `/chat/completions`.
    #[arg(long, value_name = "URL", requires = "judge_model", requires = "benchmark")]
    judge: Option<String>,
    /// The judge's model.
    #[arg(long, value_name = "NAME", requires = "judge")]
    judge_model: Option<String>,
    /// A checkpoint on this machine as the judge.
    #[arg(long, value_name = "DIR", conflicts_with = "judge", requires = "benchmark")]
    judge_checkpoint: Option<PathBuf>,
    /// Earlier predictions (`predictions.parquet`, or its folder) to compare with, question by question.
    #[arg(long, value_name = "PATH")]
    pub(crate) against: Option<PathBuf>,
    /// Environment variable that holds the judge's key.
    #[arg(long, default_value = "OPENAI_API_KEY", value_name = "VAR")]
    judge_key: String,
    /// Folder of the judge's replies; a rerun asks nothing twice. [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    judge_cache: Option<PathBuf>,
    /// Requests a minute to the judge at most; 0 for any number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    judge_rate: u32,
    /// Price of a million tokens of prompts and of replies, for the report.
    #[arg(long, num_args = 2, value_names = ["PROMPTS", "REPLIES"])]
    judge_price: Vec<f64>,
    /// Seconds that a reply may take.
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    judge_timeout: f64,
}

/// Whose prompt.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum HarnessArg {
    /// VLMEvalKit's.
    Vlmeval,
    /// lmms-eval's.
    Lmms,
    /// The authors'.
    Authors,
    /// The words of the recipe that `--prompts` names.
    Recipe,
}

impl BenchmarkArgs {
    /// The benchmark, if one is named.
    pub(crate) fn config(&self) -> Option<BenchmarkConfig> {
        let (name, data) = self.benchmark.clone().zip(self.data.as_ref())?;
        let FileData { path, task, split, images, .. } = self.rows.of(data);
        let judge = self.judge.as_ref().zip(self.judge_model.as_ref()).map(|(url, model)| ChatConfig {
            token_env: self.judge_key.clone(),
            cache: self.judge_cache.clone(),
            requests_per_minute: self.judge_rate,
            price: self.judge_price.as_slice().try_into().unwrap_or_default(),
            timeout_s: self.judge_timeout,
            ..ChatConfig::new(url, model)
        });
        Some(BenchmarkConfig {
            name,
            path,
            label: None,
            images,
            split,
            limit: self.limit,
            task,
            grader: self.grader,
            prompt: match self.prompt {
                HarnessArg::Vlmeval => Harness::VlmEval,
                HarnessArg::Lmms => Harness::Lmms,
                HarnessArg::Authors => Harness::Authors,
                HarnessArg::Recipe => Harness::Recipe,
            },
            suffix: self.suffix.clone(),
            strip_tags: self.strip_tags,
            judge,
            judge_checkpoint: self.judge_checkpoint.clone(),
        })
    }
}
