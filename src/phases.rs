//! From a recipe to stages: the one place where config enums become trait objects.

use std::sync::Arc;

use reft_config::{
    DataConfig, EvalPhase, GrpoPhase, JudgeConfig, PhaseConfig, Recipe, RejectPhase, RewardConfig, SftPhase,
    WithForm,
};
use reft_core::{Benchmark, Demonstration, Form, RunStore, Sample, Seed, StageError};
use reft_data::Dataset;
use reft_eval::TaskBenchmark;
use reft_grpo::GrpoOptimizer;
use reft_pipeline::{EvalStages, PhaseBuilder, Preflight, RejectStages, RlStages, SftStages, Stages};
use reft_reject::{BestOf, RuleJudge, ServerJudge, from_kept};
use reft_reward::{Accuracy, Deadline, Format, Rubric, advantage, solution};
use reft_rollout::GenerationEngine;
use reft_train::SftTrainer;
use reft_vlm::Vlm;

use crate::model::check_trainable;

/// Changes the stages of a phase before it runs: `|phase, stages| ...`.
pub type Customize<'a> = Box<dyn FnMut(&PhaseConfig, &mut Stages<Vlm>) + 'a>;

/// The phases of a recipe.
///
/// To swap a stage, give a closure that replaces a field of the stages it is shown:
///
/// ```no_run
/// # use curr_reft::{phases::RecipePhases, pipeline::Stages};
/// # fn example(recipe: &curr_reft::config::Recipe, my_reward: fn() -> Box<dyn curr_reft::core::Reward>) {
/// let phases = RecipePhases::new(recipe).customize(|_phase, stages| {
///     if let Stages::Rl(rl) = stages {
///         rl.reward = my_reward();
///     }
/// });
/// # }
/// ```
pub struct RecipePhases<'a> {
    recipe: &'a Recipe,
    customize: Customize<'a>,
}

impl<'a> RecipePhases<'a> {
    /// The phases as the recipe says.
    pub fn new(recipe: &'a Recipe) -> Self {
        Self { recipe, customize: Box::new(|_, _| {}) }
    }

    /// The phases with some stages replaced.
    #[must_use]
    pub fn customize(self, customize: impl FnMut(&PhaseConfig, &mut Stages<Vlm>) + 'a) -> Self {
        Self { customize: Box::new(customize), ..self }
    }

    /// The seed of everything that belongs to a phase but not to one of its steps.
    fn seed(&self, phase: &str) -> Seed {
        Seed::new(self.recipe.run.seed).at(phase)
    }

    fn grpo(&self, phase: &GrpoPhase, policy: &Vlm) -> Result<Stages<Vlm>, StageError> {
        check_trainable(policy, &phase.name, phase.trainable)?;
        let seed = self.seed(&phase.name);
        let samples = self.dataset(&phase.data, &phase.forms, seed)?.samples;
        let preflight = phase.preflight.enabled.then(|| preflight(phase, &samples));
        let curriculum = reft_curriculum::build(&phase.curriculum, samples, seed.at("curriculum"))
            .map_err(|e| StageError::other(format!("curriculum of phase `{}`", phase.name), e))?;
        let reward = Rubric::from_recipe(&phase.reward, Some(policy.processor().budget()))
            .map_err(|e| StageError::other(format!("reward of phase `{}`", phase.name), e))?;
        Ok(Stages::Rl(RlStages {
            steps: phase.steps,
            prompts_per_step: phase.prompts_per_step,
            sampling: phase.sampling.params(seed),
            curriculum,
            rollout: Box::new(GenerationEngine::default()),
            reward: Box::new(reward),
            advantage: advantage::build(&phase.advantage, &phase.reward),
            filters: reft_curriculum::filter::build(&phase.filter),
            refill: reft_curriculum::refill::build(&phase.filter.refill),
            preflight,
            optimizer: Box::new(
                GrpoOptimizer::new(phase, policy, seed)?
                    .with_advantage(advantage::build(&phase.advantage, &phase.reward)),
            ),
            max_skipped: phase.max_skipped,
        }))
    }

    fn sft(&self, phase: &SftPhase, policy: &Vlm, store: &dyn RunStore) -> Result<Stages<Vlm>, StageError> {
        check_trainable(policy, &phase.name, phase.trainable)?;
        let seed = self.seed(&phase.name);
        let mut demonstrations = Vec::new();
        for name in &phase.data {
            let earlier = self.recipe.phase.iter().find_map(|p| match p {
                PhaseConfig::Reject(reject) if reject.name == *name => Some(reject),
                _ => None,
            });
            match earlier {
                Some(reject) => demonstrations.extend(self.kept(reject, store)?),
                None => demonstrations.extend(self.dataset(name, &phase.forms, seed)?.demonstrations()),
            }
        }
        Ok(Stages::Sft(SftStages {
            steps: phase.steps,
            batch_size: phase.batch_size,
            demonstrations,
            trainer: Box::new(SftTrainer::new(phase, policy, seed)),
        }))
    }

    /// The demonstrations that an earlier rejection phase kept.
    fn kept(&self, phase: &RejectPhase, store: &dyn RunStore) -> Result<Vec<Demonstration>, StageError> {
        let kept = store.load_kept(&phase.name)?;
        from_kept(&kept, &self.questions(phase)?)
            .map_err(|e| StageError::other(format!("answers kept by phase `{}`", phase.name), e))
    }

    fn reject(&self, phase: &RejectPhase, policy: &Vlm) -> Result<Stages<Vlm>, StageError> {
        let budget = Some(policy.processor().budget());
        Ok(Stages::Reject(RejectStages {
            questions: self.questions(phase)?,
            prompts_per_step: phase.prompts_per_step,
            sampling: phase.sampling.params(self.seed(&phase.name)),
            rollout: Box::new(GenerationEngine::default()),
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

    fn questions(&self, phase: &RejectPhase) -> Result<Vec<Arc<Sample>>, StageError> {
        let mut samples = self.dataset(&phase.data, &phase.forms, self.seed(&phase.name))?.samples;
        if phase.limit > 0 {
            samples.truncate(phase.limit);
        }
        Ok(samples)
    }

    fn eval(&self, phase: &EvalPhase, policy: &Vlm) -> Result<Stages<Vlm>, StageError> {
        let budget = Some(policy.processor().budget());
        let benchmarks = phase.data.iter().map(|name| {
            // The questions of a benchmark depend on nothing but its data set, so that all phases and runs compare.
            let samples = self.dataset(name, &phase.forms, Seed::new(0))?.samples;
            let benchmark = TaskBenchmark::new(name, samples, &phase.reward, budget)
                .map_err(|e| StageError::other(format!("benchmark `{name}`"), e))?;
            Ok(Box::new(benchmark) as Box<dyn Benchmark>)
        });
        Ok(Stages::Eval(EvalStages {
            benchmarks: benchmarks.collect::<Result<_, StageError>>()?,
            prompts_per_step: phase.prompts_per_step,
            sampling: phase.sampling.params(self.seed(&phase.name)),
            rollout: Box::new(GenerationEngine::default()),
        }))
    }

    fn dataset(&self, name: &str, forms: &[WithForm], seed: Seed) -> Result<Dataset, StageError> {
        let forms: Vec<Form> = forms.iter().map(|form| form.0).collect();
        let config: &DataConfig = self.recipe.data.get(name).ok_or_else(|| {
            StageError::other("recipe", format!("there is no data set `{name}`; add a table `[data.{name}]`"))
        })?;
        Dataset::load(config, &self.recipe.prompt, &forms, seed)
            .map_err(|e| StageError::other(format!("data set `{name}`"), e))
    }
}

/// What a phase checks before its first step, on samples from all over its data.
fn preflight(phase: &GrpoPhase, samples: &[Arc<Sample>]) -> Preflight {
    Preflight {
        solutions: spread(samples, phase.preflight.samples).map(|s| written(s, &phase.reward)).collect(),
        questions: spread(samples, phase.preflight.questions).cloned().collect(),
    }
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

    fn build(
        &mut self,
        index: usize,
        policy: &mut Vlm,
        store: &dyn RunStore,
    ) -> Result<Stages<Vlm>, StageError> {
        let phase = &self.recipe.phase[index];
        let mut stages = match phase {
            PhaseConfig::Grpo(phase) => self.grpo(phase, policy)?,
            PhaseConfig::Sft(phase) => self.sft(phase, policy, store)?,
            PhaseConfig::Reject(phase) => self.reject(phase, policy)?,
            PhaseConfig::Eval(phase) => self.eval(phase, policy)?,
        };
        (self.customize)(phase, &mut stages);
        if let (PhaseConfig::Grpo(phase), Stages::Rl(rl)) = (phase, &mut stages) {
            // Also a reward of the user's own must not stop the run.
            let reward = std::mem::replace(&mut rl.reward, Box::new(Format));
            rl.reward = Deadline::from_recipe(reward, &phase.reward);
        }
        Ok(stages)
    }
}
