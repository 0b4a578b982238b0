//! Which benchmark, asked and graded how: shared by `eval` and `grade`.

use std::{env, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use curr_reft::{
    benchmarks::{BenchmarkOptions, JudgeOptions},
    eval::{Grader, Harness},
};

use super::RowArgs;

#[derive(Debug, Args)]
pub(crate) struct BenchmarkArgs {
    /// A benchmark of docs/BENCHMARKS_VLM.md (mathvista, mmbench, mmmu, ...), or `generic`, which grades rows of any kind
    /// by the rewards of training.
    #[arg(long, value_name = "NAME")]
    benchmark: String,
    /// Its questions as published: `.parquet`, `.tsv`, `.json`, `.jsonl` or `.arrow`.
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    /// Whose verdicts: ours, authors, vlmeval, lmms, or another that the benchmark has; a wrong name lists them.
    #[arg(long, value_name = "NAME")]
    grader: Option<Grader>,
    /// Whose prompt the questions are put in.
    #[arg(long, value_enum, default_value_t = HarnessArg::Vlmeval, value_name = "HARNESS")]
    prompt: HarnessArg,
    /// Words behind every prompt: what the model was trained to be asked.
    #[arg(long, default_value = "", value_name = "TEXT")]
    suffix: String,
    /// Grade what stands in the answer tags, where there are tags.
    #[arg(long)]
    strip_tags: bool,
    /// A judge with OpenAI's protocol: its address without `/chat/completions`.
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge: Option<String>,
    /// The judge's model.
    #[arg(long, value_name = "NAME", requires = "judge")]
    judge_model: Option<String>,
    /// Environment variable that holds the judge's key.
    #[arg(long, default_value = "OPENAI_API_KEY", value_name = "VAR")]
    judge_key: String,
    /// Folder of the judge's replies; a rerun asks nothing twice. [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    judge_cache: Option<PathBuf>,
    /// Requests a minute to the judge at most; 0 for any number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    judge_rate: u32,
    /// Seconds that a reply may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    judge_timeout: u64,
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
}

impl BenchmarkArgs {
    /// As the facade takes it.
    pub(crate) fn options(&self) -> BenchmarkOptions {
        let judge = self.judge.clone().zip(self.judge_model.clone()).map(|(base_url, model)| JudgeOptions {
            base_url,
            model,
            key_env: self.judge_key.clone(),
            cache: self.judge_cache.clone().unwrap_or_else(cache),
            per_minute: self.judge_rate,
            timeout: Duration::from_secs(self.judge_timeout),
        });
        BenchmarkOptions {
            name: self.benchmark.clone(),
            grader: self.grader,
            harness: match self.prompt {
                HarnessArg::Vlmeval => Harness::VlmEval,
                HarnessArg::Lmms => Harness::Lmms,
                HarnessArg::Authors => Harness::Authors,
            },
            suffix: self.suffix.clone(),
            strip_tags: self.strip_tags,
            judge,
        }
    }
}

/// The user's cache folder, by the convention of the desktop standard; the working folder where there is none.
fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_default().join("curr-reft/judge")
}
