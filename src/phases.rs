//! From a recipe to stages: the one file where config enums become trait objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use reft_config::{
    BadImages, DataConfig, EvalPhase, FleetConfig, GrpoPhase, GuardConfig, JudgeConfig, Keep, PhaseConfig,
    Recipe, RejectPhase, RewardConfig, SftPhase, Shard, ValidationConfig, WithForm,
};
use reft_core::{
    Benchmark, BoxFrame, Demonstration, Form, ImageSource, Progress, RolloutEngine, RunStore, Sample,
    SampleId, Seed, StageError,
};
use reft_curriculum::Pool;
use reft_data::{Contents, Dataset, OpenData, Report, Tokens};
use reft_dist::Group;
use reft_eval::TaskBenchmark;
use reft_fleet::ServerEngine;
use reft_grpo::GrpoOptimizer;
use reft_pipeline::{
    EvalStages, Guard, PhaseBuilder, PhasePlan, Preflight, RejectStages, RlStages, SftStages, Stages,
    Validation,
};
use reft_reject::{BestOf, RuleJudge, ServerJudge, from_kept};
use reft_reward::{Accuracy, Deadline, Format, Rubric, advantage, solution};
use reft_rollout::{ExactEngine, GenerationEngine};
use reft_store::ImageFiles;
use reft_train::SftTrainer;
use reft_vlm::{Vlm, processor::Processor};

use crate::{
    audit::{DataAudit, FormTokens, prompt_tokens},
    benchmarks::AnyBenchmark,
    images::{BadImage, bad_images},
    model::check_trainable,
    open::OpenSets,
    servers,
};

/// Bad images that an error names.
const MOST_NAMED: usize = 5;

/// What the stages of a phase were built from.
#[derive(Clone, Copy)]
pub struct Built<'a> {
    /// The phase as the recipe has it.
    pub phase: &'a PhaseConfig,
    /// The samples of a `grpo` phase, or the questions of a `reject` phase, in the forms that it asks for; empty for others.
    pub samples: &'a [Arc<Sample>],
    /// The seed of everything that belongs to the phase but not to one of its steps.
    pub seed: Seed,
    /// The policy as it is when the phase starts or resumes.
    pub policy: &'a Vlm,
    /// The processes that share the run's updates, for an optimizer or a trainer that takes the recipe's place.
    pub group: &'a Arc<Group>,
    /// What these divide among them.
    pub shard: Shard,
}

/// Changes the stages of a phase before it runs: `|built, stages| ...`. An error stops the run.
pub type Customize<'a> = Box<dyn FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError> + 'a>;

/// The phases of a recipe.
///
/// To swap a stage, give a closure that replaces a field of the stages it is shown:
///
/// ```no_run
/// # use curr_reft::{phases::RecipePhases, pipeline::Stages};
/// # fn example(recipe: &curr_reft::config::Recipe, my_reward: fn() -> Box<dyn curr_reft::core::Reward>) {
/// let phases = RecipePhases::new(recipe).customize(|_built, stages| {
///     if let Stages::Rl(rl) = stages {
///         rl.reward = my_reward();
///     }
///     Ok(())
/// });
/// # }
/// ```
pub struct RecipePhases<'a> {
    recipe: &'a Recipe,
    customize: Customize<'a>,
    /// Stages of the last phase that the closure has replaced.
    replaced: Vec<&'static str>,
    /// The processes that share the updates.
    group: Arc<Group>,
    /// Several phases ask them, in other forms.
    open: OpenSets,
}

impl<'a> RecipePhases<'a> {
    /// The phases as the recipe says.
    pub fn new(recipe: &'a Recipe) -> Self {
        Self {
            recipe,
            customize: Box::new(|_, _| Ok(())),
            replaced: Vec::new(),
            group: Arc::default(),
            open: OpenSets::of(recipe),
        }
    }

    /// The data sets, to be shown beside what is made of them.
    pub(crate) fn open_sets(&self) -> &OpenSets {
        &self.open
    }

    /// The phases with updates that the ranks of a group share.
    #[must_use]
    pub fn shared_by(self, group: Arc<Group>) -> Self {
        Self { group, ..self }
    }

    /// The phases with some stages replaced.
    #[must_use]
    pub fn customize(
        self,
        customize: impl FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError> + 'a,
    ) -> Self {
        Self { customize: Box::new(customize), ..self }
    }

    /// That the model can do what the phases ask of it.
    pub fn check_model(&self, policy: &Vlm) -> Result<(), StageError> {
        self.recipe.phase.iter().try_for_each(|phase| check_model(phase, policy))
    }

    /// The seed of everything that belongs to a phase but not to one of its steps.
    fn seed(&self, phase: &str) -> Seed {
        Seed::new(self.recipe.run.seed).at(phase)
    }

    /// The stages, and the samples that their curriculum draws from.
    fn grpo(&self, phase: &GrpoPhase, policy: &Vlm) -> Result<(Stages<Vlm>, Vec<Arc<Sample>>), StageError> {
        let seed = self.seed(&phase.name);
        let data = self.dataset(&phase.data, &phase.forms, seed, policy)?;
        let phase = &phase.in_steps(data.samples.len());
        let preflight = phase.preflight.enabled.then(|| preflight(phase, &data.samples));
        let curriculum = reft_curriculum::build(&phase.curriculum, pool(&data), seed.at("curriculum"))
            .map_err(|e| StageError::other(format!("curriculum of phase `{}`", phase.name), e))?;
        let reward = Rubric::from_recipe(&phase.reward, policy.processor().budget())
            .map_err(|e| StageError::other(format!("reward of phase `{}`", phase.name), e))?;
        let stages = Stages::Rl(RlStages {
            steps: phase.steps,
            prompts_per_step: phase.prompts_per_step,
            sampling: phase.sampling.params(seed),
            curriculum,
            rollout: self.rollout(phase, policy)?,
            reward: Box::new(reward),
            pay_zero: phase.reward.pay_zero,
            cut_answers: phase.cut_answers,
            advantage: advantage::build(&phase.advantage, &phase.reward),
            filters: reft_curriculum::filter::build(&phase.filter),
            refill: reft_curriculum::refill::build(&phase.filter.refill),
            preflight,
            guard: guard(phase.guard),
            optimizer: Box::new(
                GrpoOptimizer::new(phase, policy, seed)?
                    .with_group(Arc::clone(&self.group), self.recipe.run.shard),
            ),
            max_skipped: phase.max_skipped,
            validation: self.validation(&phase.name, phase.validation.as_ref(), policy)?,
        });
        Ok((stages, data.samples))
    }

    /// Who answers while the policy learns.
    fn rollout(&self, phase: &GrpoPhase, policy: &Vlm) -> Result<Box<dyn RolloutEngine<Vlm>>, StageError> {
        if phase.exact {
            return Ok(Box::new(ExactEngine));
        }
        let servers = servers::engine(phase, &self.recipe.run, policy)?;
        Ok(servers.unwrap_or_else(|| Box::new(GenerationEngine::default())))
    }

    fn sft(&self, phase: &SftPhase, policy: &Vlm, store: &dyn RunStore) -> Result<Stages<Vlm>, StageError> {
        let seed = self.seed(&phase.name);
        let mut demonstrations = Vec::new();
        for name in &phase.data {
            let earlier = self.recipe.phase.iter().find_map(|p| match p {
                PhaseConfig::Reject(reject) if reject.name == *name => Some(reject),
                _ => None,
            });
            demonstrations.extend(match earlier {
                Some(reject) => self.kept(reject, store, policy)?,
                None => self.dataset(name, &phase.forms, seed, policy)?.weighted_demonstrations(),
            });
        }
        let phase = &phase.in_steps(demonstrations.len());
        Ok(Stages::Sft(SftStages {
            steps: phase.steps,
            batch_size: phase.batch_size,
            demonstrations,
            trainer: Box::new(
                SftTrainer::new(phase, seed).with_group(Arc::clone(&self.group), self.recipe.run.shard),
            ),
            validation: self.validation(&phase.name, phase.validation.as_ref(), policy)?,
        }))
    }

    /// The demonstrations that an earlier rejection phase kept.
    fn kept(
        &self,
        phase: &RejectPhase,
        store: &dyn RunStore,
        policy: &Vlm,
    ) -> Result<Vec<Demonstration>, StageError> {
        let kept = store.load_kept(&phase.name)?;
        from_kept(&kept, &self.questions(phase, policy)?)
            .map_err(|e| StageError::other(format!("answers kept by phase `{}`", phase.name), e))
    }

    fn reject(
        &self,
        phase: &RejectPhase,
        policy: &Vlm,
        questions: Vec<Arc<Sample>>,
    ) -> Result<Stages<Vlm>, StageError> {
        let budget = policy.processor().budget();
        Ok(Stages::Reject(RejectStages {
            questions,
            prompts_per_step: phase.prompts_per_step,
            sampling: phase.sampling.params(self.seed(&phase.name)),
            rollout: engine(phase.servers.as_ref())?,
            judge: match &phase.judge {
                JudgeConfig::Rules => Box::new(RuleJudge::new(
                    Box::new(Accuracy::decisive(&phase.reward, budget)),
                    Box::new(Format),
                )),
                JudgeConfig::Server(config) => Box::new(ServerJudge::new(config)?),
            },
            selector: Box::new(BestOf { threshold: phase.threshold, keep: phase.keep }),
        }))
    }

    fn questions(&self, phase: &RejectPhase, policy: &Vlm) -> Result<Vec<Arc<Sample>>, StageError> {
        let mut samples = self.dataset(&phase.data, &phase.forms, self.seed(&phase.name), policy)?.samples;
        if phase.limit > 0 {
            samples.truncate(phase.limit);
        }
        Ok(samples)
    }

    fn eval(&self, phase: &EvalPhase, policy: &Vlm) -> Result<EvalStages<Vlm>, StageError> {
        let budget = policy.processor().budget();
        let benchmarks = phase.data.iter().map(|name| {
            // The questions of a benchmark depend on nothing but its data set, so that all phases and runs compare.
            let samples = self.dataset(name, &phase.forms, Seed::new(0), policy)?.samples;
            let benchmark = TaskBenchmark::new(name, samples, &phase.reward, budget)
                .map_err(|e| StageError::other(format!("benchmark `{name}`"), e))?;
            Ok(Box::new(benchmark) as Box<dyn Benchmark>)
        });
        let published = phase.benchmarks.iter().map(|config| {
            let benchmark = AnyBenchmark::open(config, &self.recipe.prompt, budget)
                .map_err(|e| StageError::other(format!("benchmark `{}`", config.name), e))?;
            Ok(Box::new(benchmark) as Box<dyn Benchmark>)
        });
        Ok(EvalStages {
            benchmarks: benchmarks.chain(published).collect::<Result<_, StageError>>()?,
            prompts_per_step: phase.prompts_per_step,
            sampling: phase.sampling.params(self.seed(&phase.name)),
            rollout: engine(phase.servers.as_ref())?,
        })
    }

    /// What phase `name` asks while it trains.
    fn validation(
        &self,
        name: &str,
        config: Option<&ValidationConfig>,
        policy: &Vlm,
    ) -> Result<Option<Validation<Vlm>>, StageError> {
        let Some(config) = config else { return Ok(None) };
        Ok(Some(Validation {
            every: config.every,
            asked: self.eval(&config.as_eval(name), policy)?,
            keep_best: config.keep == Keep::Best,
            patience: config.patience,
        }))
    }

    /// A data set in some forms, without prompts that are longer than it wants.
    fn dataset(
        &self,
        name: &str,
        forms: &[WithForm],
        seed: Seed,
        policy: &Vlm,
    ) -> Result<Dataset, StageError> {
        let mut data = self.in_forms(name, &as_forms(forms), seed)?;
        if data.sources().iter().any(|source| source.max_prompt_tokens > 0) {
            let mut lengths = prompt_tokens(policy.processor(), &data.samples)?.into_iter();
            // One length for each sample, in order.
            data.retain(|source, _| {
                lengths.next().is_some_and(|n| source.max_prompt_tokens == 0 || n <= source.max_prompt_tokens)
            });
        }
        if data.samples.is_empty() {
            let message = "every prompt is longer than `max_prompt_tokens`; raise it";
            return Err(StageError::other(format!("data set `{name}`"), message));
        }
        Ok(data)
    }

    fn in_forms(&self, name: &str, forms: &[Form], seed: Seed) -> Result<Dataset, StageError> {
        self.open(name)?
            .in_forms(forms, &self.recipe.prompt, seed)
            .map_err(|e| StageError::other(format!("data set `{name}`"), e))
    }

    /// The data set as it is on disk, read once.
    fn open(&self, name: &str) -> Result<Rc<OpenData>, StageError> {
        self.open.get(name).map_err(|e| StageError::other(format!("data set `{name}`"), e))
    }

    /// Decodes the images of all data sets, those of scenes of our own aside. What cannot be decoded is left out where the
    /// data set says so, and returned by data set; else it is an error that names it.
    pub fn check_images(
        &self,
        progress: Progress<'_>,
    ) -> Result<BTreeMap<String, Vec<BadImage>>, StageError> {
        let mut left_out: BTreeMap<String, Vec<BadImage>> = BTreeMap::new();
        let mut refused = Vec::new();
        let names: BTreeSet<&str> = self.uses().into_iter().map(|use_| use_.data).collect();
        for name in names {
            let samples: Vec<Arc<Sample>> = self
                .open(name)?
                .samples()
                .filter(|sample| self.on_bad_image(name, &sample.id).is_some())
                .cloned()
                .collect();
            for bad in bad_images(&samples, &mut *progress)? {
                match self.on_bad_image(name, &bad.sample) {
                    Some(BadImages::Skip) => left_out.entry(name.to_owned()).or_default().push(bad),
                    _ => refused.push(format!("data set `{name}`, sample `{}`: {}", bad.sample, bad.problem)),
                }
            }
        }
        if refused.is_empty() {
            for (name, bad) in &left_out {
                self.leave_out(name, &bad.iter().map(|bad| bad.sample.clone()).collect())?;
            }
            return Ok(left_out);
        }
        let n = refused.len();
        refused.truncate(MOST_NAMED);
        let message = format!(
            "{n} samples show images that cannot be decoded; repair or remove them, or set `on_bad_image = \"skip\"` of \
             the data set to go on without: {}{}",
            refused.join("; "),
            if n > MOST_NAMED { "; ..." } else { "" }
        );
        Err(StageError::other("images", message))
    }

    /// The image files that the data sets of all phases name.
    pub fn image_files(&self) -> Result<Vec<ImageFiles>, StageError> {
        let names: BTreeSet<&str> = self.uses().into_iter().map(|use_| use_.data).collect();
        let of_set = |name: &str| {
            let open = self.open(name)?;
            let images = open.samples().flat_map(|sample| sample.images());
            let paths = images.filter_map(|image| match &image.source {
                ImageSource::Path(path) => Some(path.clone()),
                ImageSource::Bytes(_) | ImageSource::Stored(_) => None,
            });
            Ok(ImageFiles { data: name.to_owned(), paths: paths.collect() })
        };
        names.into_iter().map(of_set).collect()
    }

    /// Goes on without some samples of a data set.
    pub fn leave_out(&self, name: &str, samples: &BTreeSet<SampleId>) -> Result<(), StageError> {
        self.open.leave_out(name, samples).map_err(|e| StageError::other(format!("data set `{name}`"), e))
    }

    /// What becomes of a bad image of a sample; none for scenes, whose images are ours.
    fn on_bad_image(&self, name: &str, sample: &SampleId) -> Option<BadImages> {
        match self.recipe.data.get(name)? {
            DataConfig::File(file) => Some(file.on_bad_image),
            DataConfig::Scenes(_) => None,
            DataConfig::Mixture(_) => {
                // Samples of a mixture are named after their source.
                let (source, id) = sample.as_str().split_once('/')?;
                self.on_bad_image(source, &SampleId::from(id))
            }
        }
    }

    /// What the data sets of all phases hold: counts, prompt lengths, duplicates, and which questions of an evaluation
    /// are trained on as well. A prompt that leaves the model no room for an answer is an error.
    pub fn audit(&self, processor: &Processor) -> Result<Vec<DataAudit>, StageError> {
        let mut contents: BTreeMap<&str, Contents> = BTreeMap::new();
        let mut audits: BTreeMap<&str, DataAudit> = BTreeMap::new();
        for use_ in self.uses() {
            let name = use_.data;
            if !audits.contains_key(name) {
                let open = self.open(name)?;
                let samples: Vec<Arc<Sample>> = open.samples().cloned().collect();
                let of_samples = Contents::of(&samples);
                let mut report = Report::with_contents(&samples, &of_samples);
                report.notes = open.notes().to_vec();
                contents.insert(name, of_samples);
                audits.insert(name, DataAudit { data: name.to_owned(), report, prompts: Vec::new() });
            }
            let Some(audit) = audits.get_mut(name) else { continue };
            if audit.prompts.iter().all(|prompts| prompts.forms != use_.forms) {
                let data = self.in_forms(use_.data, &use_.forms, use_.seed)?;
                let tokens = lengths(use_.data, &data, processor)?;
                audit.report.notes.extend_from_slice(data.notes());
                audit.prompts.push(FormTokens { forms: use_.forms, tokens });
            }
        }
        let names = |trains: bool| self.uses().into_iter().filter(move |use_| use_.trains == trains);
        let mut trained: Vec<&str> = names(true).map(|use_| use_.data).collect();
        trained.sort_unstable();
        trained.dedup();
        for tested in names(false).map(|use_| use_.data).filter(|name| !trained.contains(name)) {
            let Some(audit) = audits.get_mut(tested).filter(|audit| audit.report.overlaps.is_empty()) else {
                continue;
            };
            let overlaps = trained.iter().map(|train| contents[tested].overlap(&contents[train], *train));
            audit.report.overlaps = overlaps.collect();
        }
        Ok(audits.into_values().collect())
    }

    /// Which data sets the phases use, in which forms.
    fn uses(&self) -> Vec<Use<'_>> {
        let mut uses = Vec::new();
        for phase in &self.recipe.phase {
            let seed = self.seed(phase.name());
            let (names, forms, trains, seed): (Vec<&String>, _, _, _) = match phase {
                PhaseConfig::Grpo(grpo) => (vec![&grpo.data], &grpo.forms, true, seed),
                PhaseConfig::Reject(reject) => (vec![&reject.data], &reject.forms, true, seed),
                PhaseConfig::Sft(sft) => (sft.data.iter().collect(), &sft.forms, true, seed),
                PhaseConfig::Eval(eval) => (eval.data.iter().collect(), &eval.forms, false, Seed::new(0)),
            };
            // Names of rejection phases are no data sets.
            let names = names.into_iter().filter(|name| self.recipe.data.contains_key(*name));
            uses.extend(names.map(|data| Use { data, forms: as_forms(forms), trains, seed }));
            if let Some(validation) = phase.validation() {
                let forms = as_forms(&validation.forms);
                let of = |data| Use { data, forms: forms.clone(), trains: false, seed: Seed::new(0) };
                uses.extend(validation.data.iter().map(|data| of(data.as_str())));
            }
        }
        uses
    }
}

/// The lengths of a data set's prompts.
fn lengths(name: &str, data: &Dataset, processor: &Processor) -> Result<Tokens, StageError> {
    let lengths = prompt_tokens(processor, &data.samples)?;
    let wanted = data.sources().iter().map(|source| source.max_prompt_tokens).max().unwrap_or(0);
    let room = processor.context_limit();
    let mut hopeless = Vec::new();
    for source in data.sources() {
        let limit = source.max_prompt_tokens;
        for i in source.samples.clone() {
            if lengths[i] >= room && (limit == 0 || lengths[i] <= limit) {
                hopeless.push(format!("`{}` ({})", data.samples[i].id, lengths[i]));
            }
        }
    }
    if !hopeless.is_empty() {
        let message = format!(
            "{} prompts leave no room for an answer, as the model takes {room} tokens: {}; set \
             `max_prompt_tokens` of the data set to leave them out, or lower `model.max_pixels`",
            hopeless.len(),
            hopeless.join(", ")
        );
        return Err(StageError::other(format!("data set `{name}`"), message));
    }
    Ok(Tokens::of_prompts(&data.samples, &lengths, wanted))
}

/// What tells whether a stage is still the same: where it lies in memory, or its settings. (Two different stages without
/// any data have no address of their own and look the same.)
fn marks(stages: &Stages<Vlm>) -> Vec<(&'static str, String)> {
    fn address<T: ?Sized>(stage: &T) -> String {
        format!("{:?}", std::ptr::from_ref(stage).cast::<()>())
    }
    match stages {
        Stages::Rl(rl) => vec![
            ("steps", format!("{} {}", rl.steps, rl.prompts_per_step)),
            ("sampling", format!("{:?}", rl.sampling)),
            ("curriculum", address(&*rl.curriculum)),
            ("rollout", address(&*rl.rollout)),
            ("reward", address(&*rl.reward)),
            ("advantage", address(&*rl.advantage)),
            ("filters", rl.filters.iter().map(|filter| address(&**filter)).collect()),
            ("refill", rl.refill.as_deref().map(address).unwrap_or_default()),
            ("optimizer", address(&*rl.optimizer)),
        ],
        Stages::Sft(sft) => vec![
            ("steps", format!("{} {}", sft.steps, sft.batch_size)),
            ("demonstrations", format!("{} {}", address(&*sft.demonstrations), sft.demonstrations.len())),
            ("trainer", address(&*sft.trainer)),
        ],
        Stages::Reject(reject) => vec![
            ("sampling", format!("{:?}", reject.sampling)),
            ("questions", format!("{} {}", address(&*reject.questions), reject.questions.len())),
            ("rollout", address(&*reject.rollout)),
            ("judge", address(&*reject.judge)),
            ("selector", address(&*reject.selector)),
        ],
        Stages::Eval(eval) => vec![
            ("sampling", format!("{:?}", eval.sampling)),
            ("benchmarks", eval.benchmarks.iter().map(|benchmark| address(&**benchmark)).collect()),
            ("rollout", address(&*eval.rollout)),
        ],
    }
}

/// A phase's use of a data set.
struct Use<'a> {
    data: &'a str,
    forms: Vec<Form>,
    trains: bool,
    seed: Seed,
}

fn as_forms(forms: &[WithForm]) -> Vec<Form> {
    forms.iter().map(|form| form.0).collect()
}

/// What a curriculum draws from: the sources of a mixture apart where they have weights.
fn pool(data: &Dataset) -> Pool {
    if data.sources().iter().any(|source| source.weight.is_none()) {
        return data.samples.clone().into();
    }
    data.sources().iter().fold(Pool::new(), |pool, source| {
        let samples = data.samples[source.samples.clone()].to_vec();
        pool.with(&source.name, source.weight.unwrap_or(1.0), samples)
    })
}

fn guard(config: GuardConfig) -> Option<Guard> {
    let GuardConfig { window, min_teaching, max_truncated } = config;
    (window > 0).then_some(Guard { window: window as usize, min_teaching, max_truncated })
}

/// What a phase checks before its first step, on samples from all over its data.
fn preflight(phase: &GrpoPhase, samples: &[Arc<Sample>]) -> Preflight {
    Preflight {
        solutions: spread(samples, phase.preflight.samples).map(|s| written(s, &phase.reward)).collect(),
        answers: examined(samples, phase.preflight.answers).map(|s| written(s, &phase.reward)).collect(),
        questions: spread(samples, phase.preflight.questions).cloned().collect(),
    }
}

/// Who answers: the policy, or servers in its place.
fn engine(servers: Option<&FleetConfig>) -> Result<Box<dyn RolloutEngine<Vlm>>, StageError> {
    Ok(match servers {
        None => Box::new(GenerationEngine::default()),
        Some(servers) => {
            Box::new(ServerEngine::new(servers).map_err(|error| StageError::other("servers", error))?)
        }
    })
}

/// That something learns where something should, and that boxes are counted in what the model has.
fn check_model(phase: &PhaseConfig, policy: &Vlm) -> Result<(), StageError> {
    let reward = match phase {
        PhaseConfig::Grpo(phase) => {
            check_trainable(policy, &phase.name, phase.trainable)?;
            &phase.reward
        }
        PhaseConfig::Sft(phase) => return check_trainable(policy, &phase.name, phase.trainable),
        PhaseConfig::Reject(phase) => &phase.reward,
        PhaseConfig::Eval(phase) => &phase.reward,
    };
    if reward.answer_frame.0 == BoxFrame::ModelInput && policy.processor().budget().is_none() {
        let message = "`answer_frame = \"model_input\"`, but the model cuts pictures into tiles and resizes none to one size \
                       that boxes could be counted in; use `original`, `unit` or `thousand`";
        return Err(StageError::other(format!("reward of phase `{}`", phase.name()), message));
    }
    Ok(())
}

/// At most `n` samples, those with images where there are any.
fn examined(samples: &[Arc<Sample>], n: usize) -> impl Iterator<Item = &Arc<Sample>> {
    let shows_image = |sample: &&Arc<Sample>| sample.images().next().is_some();
    let some = samples.iter().any(|sample| shows_image(&sample));
    samples.iter().filter(move |sample| !some || shows_image(sample)).take(n)
}

/// At most `n` samples, evenly spaced, so that all forms and tasks are among them.
fn spread(samples: &[Arc<Sample>], n: usize) -> impl Iterator<Item = &Arc<Sample>> {
    let n = n.min(samples.len());
    (0..n).map(move |i| &samples[(2 * i + 1) * samples.len() / (2 * n)])
}

/// The solution as the model would write it. A box keeps its numbers and takes the frame that the model answers in.
fn written(sample: &Sample, reward: &RewardConfig) -> Demonstration {
    let sample = Sample { box_frame: reward.answer_frame.0, ..sample.clone() };
    let completion = format!("<think>This is known.</think><answer>{}</answer>", solution(&sample));
    Demonstration { sample: Arc::new(sample), completion }
}

impl PhaseBuilder<Vlm> for RecipePhases<'_> {
    fn names(&self) -> Vec<String> {
        self.recipe.phase.iter().map(|phase| phase.name().to_owned()).collect()
    }

    fn plan(&self) -> Vec<PhasePlan> {
        self.recipe.phase.iter().map(|phase| PhasePlan { kind: phase.kind(), steps: phase.steps() }).collect()
    }

    fn build(
        &mut self,
        index: usize,
        policy: &mut Vlm,
        store: &dyn RunStore,
    ) -> Result<Stages<Vlm>, StageError> {
        let phase = &self.recipe.phase[index];
        check_model(phase, policy)?;
        let (mut stages, samples) = match phase {
            PhaseConfig::Grpo(phase) => self.grpo(phase, policy)?,
            PhaseConfig::Sft(phase) => (self.sft(phase, policy, store)?, Vec::new()),
            PhaseConfig::Reject(phase) => {
                let questions = self.questions(phase, policy)?;
                (self.reject(phase, policy, questions.clone())?, questions)
            }
            PhaseConfig::Eval(phase) => (Stages::Eval(self.eval(phase, policy)?), Vec::new()),
        };
        let before = marks(&stages);
        let built = Built {
            phase,
            samples: &samples,
            seed: self.seed(phase.name()),
            policy,
            group: &self.group,
            shard: self.recipe.run.shard,
        };
        (self.customize)(&built, &mut stages)?;
        let changed = before.into_iter().zip(marks(&stages)).filter(|(before, after)| before != after);
        self.replaced = changed.map(|((name, _), _)| name).collect();
        if let (PhaseConfig::Grpo(phase), Stages::Rl(rl)) = (phase, &mut stages) {
            // Also a reward of the user's own must not stop the run.
            let reward = std::mem::replace(&mut rl.reward, Box::new(Format));
            rl.reward = Deadline::from_recipe(reward, &phase.reward);
        }
        Ok(stages)
    }

    fn replaced(&self) -> Vec<&'static str> {
        self.replaced.clone()
    }
}
