//! Benchmarks by name, for `reft eval` and `reft grade`: those of the field, and `generic`.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use reft_config::{DataConfig, FileData, PromptConfig, RewardConfig};
use reft_core::{Benchmark, Completion, Form, GradedGroup, Mark, PixelBudget, Sample, Seed, StageError};
use reft_data::{Dataset, grey};
use reft_eval::{
    EvalReport, Grader, Harness, Judge, JudgeUse, Published, PublishedBenchmark, PublishedOptions,
    TaskBenchmark,
};
use reft_remote::{Chat, ChatSpec, ChatUsage};
use serde_json::Value;

use crate::Error;

/// The name of the benchmark that grades rows of any kind by the rewards of training.
pub const GENERIC: &str = "generic";

/// A benchmark, and how it is asked and graded.
#[derive(Clone, Debug, Default)]
pub struct BenchmarkOptions {
    /// One of [`Published`] by any of its names, or [`GENERIC`].
    pub name: String,
    /// Whose verdicts; the benchmark's default where none is given.
    pub grader: Option<Grader>,
    /// Whose prompt.
    pub harness: Harness,
    /// Words behind every prompt.
    pub suffix: String,
    /// Grade the content of answer tags.
    pub strip_tags: bool,
    /// Who is asked where a grader asks.
    pub judge: Option<JudgeOptions>,
}

/// A judge: a server with OpenAI's protocol.
#[derive(Clone, Debug)]
pub struct JudgeOptions {
    /// Up to and without `/chat/completions`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Environment variable of the key; nothing is sent where it is unset.
    pub key_env: String,
    /// Folder of replies, so that a rerun asks nothing twice.
    pub cache: PathBuf,
    /// Requests a minute at most; 0 for any number.
    pub per_minute: u32,
    /// Longest wait for a reply.
    pub timeout: Duration,
}

/// A server as a judge.
pub(crate) struct ChatJudge(Chat);

impl ChatJudge {
    /// Tokens of a reply: the longest verdict is a sentence.
    const MAX_TOKENS: u32 = 256;
    const RETRIES: u32 = 5;

    fn new(options: &JudgeOptions) -> Result<Self, StageError> {
        let spec = ChatSpec {
            base_url: options.base_url.clone(),
            model: options.model.clone(),
            token: env::var(&options.key_env).ok().filter(|key| !key.is_empty()),
            timeout: options.timeout,
            retries: Self::RETRIES,
            backoff: Duration::from_secs(1),
            max_tokens: Self::MAX_TOKENS,
            per_minute: options.per_minute,
            cache: Some(options.cache.clone()),
        };
        Chat::new(spec).map(Self).map_err(|error| StageError::other("judge", error))
    }

    fn used(&self) -> JudgeUse {
        let ChatUsage { asked, cached, prompt_tokens, reply_tokens } = self.0.usage();
        JudgeUse { model: self.0.spec().model.clone(), asked, cached, prompt_tokens, reply_tokens }
    }
}

impl Judge for ChatJudge {
    fn reply(&self, prompt: &str, attempt: usize) -> Result<String, StageError> {
        self.0.ask(prompt, attempt).map_err(|error| {
            StageError::other("judge", format!("{error}; answers and replies so far are kept, run it again"))
        })
    }
}

/// A benchmark of either kind.
pub(crate) enum AnyBenchmark {
    Generic(TaskBenchmark),
    Published { benchmark: Box<PublishedBenchmark>, judge: Option<Arc<ChatJudge>> },
}

impl AnyBenchmark {
    /// Opens a benchmark on its file. `prompts` are for the bare questions of [`GENERIC`]; `budget` is needed only where the
    /// model writes boxes in model-input pixels.
    pub(crate) fn open(
        options: &BenchmarkOptions,
        data: &FileData,
        prompts: &PromptConfig,
        budget: Option<PixelBudget>,
    ) -> Result<Self, Error> {
        if options.name.eq_ignore_ascii_case(GENERIC) {
            let samples =
                Dataset::load(&DataConfig::File(data.clone()), prompts, &[Form::Open], Seed::new(0))?.samples;
            let name = data.path.file_stem().map_or_else(|| GENERIC.into(), |stem| stem.to_string_lossy());
            let benchmark = TaskBenchmark::new(name, samples, &RewardConfig::default(), budget)
                .map_err(StageError::from)?;
            return Ok(Self::Generic(benchmark));
        }
        let published: Published =
            options.name.parse().map_err(|error| StageError::other("benchmark", error))?;
        let judge = options.judge.as_ref().map(ChatJudge::new).transpose()?.map(Arc::new);
        let benchmark = PublishedBenchmark::open(
            published,
            data,
            PublishedOptions {
                grader: options.grader,
                harness: options.harness,
                suffix: options.suffix.clone(),
                strip_tags: options.strip_tags,
                judge: judge.clone().map(|judge| judge as Arc<dyn Judge>),
            },
        )?;
        Ok(Self::Published { benchmark: Box::new(benchmark), judge })
    }

    /// The report of all graded questions.
    pub(crate) fn evaluate(&self, graded: &[GradedGroup]) -> Result<EvalReport, StageError> {
        match self {
            Self::Generic(benchmark) => benchmark.evaluate(graded),
            Self::Published { benchmark, judge } => {
                let mut report = benchmark.evaluate(graded)?;
                if let Some(published) = &mut report.published {
                    published.judge = judge.as_ref().map(|judge| judge.used());
                }
                Ok(report)
            }
        }
    }

    /// The same questions with grey pictures; none for [`GENERIC`].
    pub(crate) fn blind(&self) -> Option<Self> {
        match self {
            Self::Generic(_) => None,
            Self::Published { benchmark, judge } => Some(Self::Published {
                benchmark: Box::new(benchmark.with_pictures(grey)),
                judge: judge.clone(),
            }),
        }
    }
}

impl Benchmark for AnyBenchmark {
    fn name(&self) -> &str {
        match self {
            Self::Generic(benchmark) => benchmark.name(),
            Self::Published { benchmark, .. } => benchmark.name(),
        }
    }

    fn samples(&self) -> &[Arc<Sample>] {
        match self {
            Self::Generic(benchmark) => benchmark.samples(),
            Self::Published { benchmark, .. } => benchmark.samples(),
        }
    }

    fn grade(&self, sample: &Sample, completion: &Completion) -> Result<Mark, StageError> {
        match self {
            Self::Generic(benchmark) => benchmark.grade(sample, completion),
            Self::Published { benchmark, .. } => benchmark.grade(sample, completion),
        }
    }

    fn report(&self, graded: &[GradedGroup]) -> Result<Value, StageError> {
        serde_json::to_value(self.evaluate(graded)?)
            .map_err(|error| StageError::other("evaluation report", error))
    }
}
