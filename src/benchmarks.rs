//! Benchmarks by name, for `reft eval` and `reft grade`: those of the field, and `generic`.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reft_config::{
    BenchmarkConfig, ChatConfig, DataConfig, ModelConfig, PhaseConfig, PromptConfig, Recipe, RewardConfig,
    is_plain_name,
};
use reft_core::{
    Benchmark, BoxFrame, Completion, Form, GradedGroup, Mark, Message, Part, PixelBudget, Role,
    RolloutEngine as _, Sample, SamplingParams, Seed, StageError, Task, read_text,
};
use reft_data::{Dataset, grey};
use reft_eval::{
    EvalReport, JudgeModel, JudgeUse, Paired, Published, PublishedBenchmark, PublishedOptions, TaskBenchmark,
};
use reft_remote::{Chat, ChatSpec, ChatUsage};
use reft_rollout::GenerationEngine;
use reft_vlm::Vlm;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, hub, table};

/// The name of the benchmark that grades rows of any kind by the rewards of training.
pub const GENERIC: &str = "generic";

/// The benchmarks of a suite file: `[[benchmarks]]`, each as in an `eval` phase.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// In order.
    pub benchmarks: Vec<BenchmarkConfig>,
}

impl Suite {
    /// Reads a suite file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |message: String| Error::File { path: path.to_owned(), message };
        let text = read_text(path).map_err(|error| file(error.to_string()))?;
        let suite: Self = toml::from_str(&text).map_err(|error| file(error.to_string()))?;
        if suite.benchmarks.is_empty() {
            return Err(file("holds no `[[benchmarks]]`".to_owned()));
        }
        Ok(suite)
    }
}

/// Whether each name can stand for a folder of its own. They are those of opened benchmarks: a file may spell one in many
/// ways.
pub(crate) fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), StageError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let problem = if !is_plain_name(name) {
            "cannot name a folder; give it a `label` of letters, digits, `-` and `_`"
        } else if !seen.insert(name) {
            "is asked twice; give one of them a `label` of its own"
        } else {
            continue;
        };
        return Err(StageError::other("benchmark", format!("`{name}` {problem}")));
    }
    Ok(())
}

/// Opens every benchmark of a recipe, so that what is wrong with the last phase's is found now.
pub(crate) fn open_all(recipe: &Recipe) -> Result<Vec<AnyBenchmark>, Error> {
    let mut all = Vec::new();
    for phase in &recipe.phase {
        let data = match phase {
            PhaseConfig::Eval(phase) => &phase.data[..],
            phase => phase.validation().map_or(&[][..], |validation| &validation.data),
        };
        let open = |config| AnyBenchmark::open(config, &recipe.prompt, None);
        let opened: Vec<AnyBenchmark> = phase.benchmarks().iter().map(open).collect::<Result<_, Error>>()?;
        let data = data.iter().map(String::as_str);
        check_names(data.chain(opened.iter().map(Benchmark::name)))?;
        all.extend(opened);
    }
    Ok(all)
}

/// Where replies of judges are kept: in the user's cache folder by the convention of the desktop standard, or in the working
/// folder where there is none.
fn replies() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_default().join("curr-reft/judge")
}

/// A server as a judge.
pub(crate) struct ChatJudge {
    chat: Chat,
    price: [f64; 2],
}

impl ChatJudge {
    /// Tokens of a reply: the longest verdict is a sentence.
    const MAX_TOKENS: u32 = 256;

    fn new(config: &ChatConfig) -> Result<Self, StageError> {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let spec = ChatSpec {
            base_url: config.url.clone(),
            model: config.model.clone(),
            token: env::var(&config.token_env).ok().filter(|key| !key.is_empty()),
            timeout: seconds(config.timeout_s),
            retries: config.retries,
            backoff: seconds(config.backoff_s),
            max_tokens: Some(Self::MAX_TOKENS),
            per_minute: config.requests_per_minute,
            cache: Some(config.cache.clone().unwrap_or_else(replies)),
        };
        let chat = Chat::new(spec).map_err(|error| StageError::other("judge", error))?;
        Ok(Self { chat, price: config.price })
    }

    fn used(&self) -> JudgeUse {
        let ChatUsage { asked, cached, prompt_tokens, reply_tokens } = self.chat.usage();
        let [of_prompts, of_replies] = self.price;
        let cost = (prompt_tokens as f64 * of_prompts + reply_tokens as f64 * of_replies) / 1e6;
        JudgeUse { model: self.chat.spec().model.clone(), asked, cached, prompt_tokens, reply_tokens, cost }
    }
}

impl JudgeModel for ChatJudge {
    fn reply(&self, prompt: &str, attempt: usize) -> Result<String, StageError> {
        self.chat.ask(prompt, attempt).map_err(|error| {
            StageError::other("judge", format!("{error}; answers and replies so far are kept, run it again"))
        })
    }
}

/// A checkpoint as a judge. One prompt at a time: its tensors belong to one thread.
struct LocalJudge {
    path: PathBuf,
    /// Loaded for the first question: most graders ask about few answers, and a recipe is checked before it needs a judge.
    loaded: Mutex<Option<(Vlm, GenerationEngine)>>,
}

impl LocalJudge {
    fn new(path: &Path) -> Result<Self, StageError> {
        if path.join("config.json").is_file() {
            return Ok(Self { path: path.to_owned(), loaded: Mutex::default() });
        }
        let message = format!("`{}` is no checkpoint: it has no `config.json`", path.display());
        Err(StageError::other("judge", message))
    }
}

impl JudgeModel for LocalJudge {
    fn reply(&self, prompt: &str, attempt: usize) -> Result<String, StageError> {
        let sample = Sample {
            id: "judge".into(),
            task: Task::Vqa,
            form: Form::Open,
            problem: prompt.to_owned(),
            messages: vec![Message { role: Role::User, content: vec![Part::Text(prompt.to_owned())] }],
            solution: String::new(),
            box_frame: BoxFrame::Original,
            parent: None,
        };
        // As a server is asked: the first reply is greedy, later ones are drawn.
        let params = SamplingParams {
            temperature: 0.5 * attempt as f32,
            seed: Seed::new(attempt as u64),
            ..SamplingParams::plain(ChatJudge::MAX_TOKENS as usize)
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (policy, engine) = match &mut *loaded {
            Some(loaded) => loaded,
            empty => {
                let policy = crate::model::open(&ModelConfig::of_folder(&self.path))
                    .map_err(|error| StageError::other("judge", error))?;
                empty.insert((policy, GenerationEngine::default()))
            }
        };
        let groups = engine.generate(policy, &[Arc::new(sample)], &params, &mut |_, _| true)?;
        let reply = groups.into_iter().flat_map(|group| group.completions).next();
        Ok(reply.map(|completion| completion.text).unwrap_or_default())
    }
}

/// A benchmark of either kind.
pub(crate) enum AnyBenchmark {
    Generic(TaskBenchmark),
    Published { benchmark: Box<PublishedBenchmark>, judge: Option<Arc<ChatJudge>> },
}

impl AnyBenchmark {
    /// Opens a benchmark on its file. `prompts` are for the bare questions of [`GENERIC`] and for
    /// [`Harness::Recipe`](reft_config::Harness); `budget` is needed only where the model writes boxes in model-input
    /// pixels.
    pub(crate) fn open(
        config: &BenchmarkConfig,
        prompts: &PromptConfig,
        budget: Option<PixelBudget>,
    ) -> Result<Self, Error> {
        let mut data = config.data();
        data.path = hub::file_path(&data.path)?;
        if config.name.eq_ignore_ascii_case(GENERIC) {
            let stem = data.path.file_stem().map_or_else(|| GENERIC.into(), |stem| stem.to_string_lossy());
            let name = config.label.clone().unwrap_or_else(|| stem.into_owned());
            let samples =
                Dataset::load(&DataConfig::File(data), prompts, &[Form::Open], Seed::new(0))?.samples;
            let benchmark = TaskBenchmark::new(name, samples, &RewardConfig::default(), budget)
                .map_err(StageError::from)?;
            return Ok(Self::Generic(benchmark));
        }
        let published: Published =
            config.name.parse().map_err(|error| StageError::other("benchmark", error))?;
        let judge = config.judge.as_ref().map(ChatJudge::new).transpose()?.map(Arc::new);
        let benchmark = PublishedBenchmark::open(
            published,
            &data,
            PublishedOptions {
                label: config.label.clone(),
                grader: config.grader,
                harness: config.prompt,
                templates: prompts.clone(),
                pixels: budget.map(|budget| (budget.min_pixels, budget.max_pixels)),
                suffix: config.suffix.clone(),
                strip_tags: config.strip_tags,
                judge: match &config.judge_checkpoint {
                    Some(path) => Some(Arc::new(LocalJudge::new(path)?)),
                    None => judge.clone().map(|judge| judge as Arc<dyn JudgeModel>),
                },
            },
        )?;
        Ok(Self::Published { benchmark: Box::new(benchmark), judge })
    }

    /// What a user should know about the file.
    pub(crate) fn notes(&self) -> &[String] {
        match self {
            Self::Generic(_) => &[],
            Self::Published { benchmark, .. } => benchmark.notes(),
        }
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

    /// These questions with grey pictures; none for [`GENERIC`].
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

/// First answers beside those of an earlier evaluation: its `predictions.parquet`, or the folder that holds it.
pub(crate) fn against(graded: &[GradedGroup], earlier: &Path) -> Result<Paired, Error> {
    let path = if earlier.is_dir() { earlier.join("predictions.parquet") } else { earlier.to_owned() };
    let mut right: HashMap<String, bool> = HashMap::new();
    for (_, row) in table::read(&path)? {
        let (Some(sample), Some(grade)) = (row.get("sample").and_then(Value::as_str), row.get("grade"))
        else {
            return Err(Error::File {
                path,
                message: "has no columns `sample` and `grade`; give the predictions of an evaluation"
                    .to_owned(),
            });
        };
        right.entry(sample.to_owned()).or_insert(grade.as_f64() >= Some(1.0));
    }
    let pairs = graded.iter().map(|group| {
        let id = group.group.sample.id.as_str();
        let before = right.get(id).ok_or_else(|| Error::File {
            path: path.clone(),
            message: format!("has no answer to `{id}`; compare answers to the same questions"),
        })?;
        Ok((*before, group.marks.first().is_some_and(Mark::is_right)))
    });
    Ok(Paired::new(pairs.collect::<Result<Vec<_>, Error>>()?))
}
