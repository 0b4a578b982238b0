//! What a phase is made of, and who makes it.

use std::sync::Arc;

use reft_core::{
    AdvantageEstimator, Benchmark, Curriculum, CutAnswers, Demonstration, GroupFilter, Judge,
    PolicyOptimizer, Refill, Reward, RolloutEngine, RunStore, Sample, SamplingParams, Selector, StageError,
    SupervisedTrainer,
};

use crate::{Guard, PhasePlan, Preflight, Validation};

/// Makes the stages of each phase, lazily: a phase may need what an earlier one left in the store.
pub trait PhaseBuilder<P: ?Sized> {
    /// The names of all phases in order. Unique: they are keys on disk and in seeds.
    fn names(&self) -> Vec<String>;

    /// What is known of each phase before it starts, in order, for estimates of time; empty where nothing is.
    fn plan(&self) -> Vec<PhasePlan> {
        Vec::new()
    }

    /// The stages of phase `index`. Called once when the phase starts or resumes, with the policy as it is then.
    fn build(&mut self, index: usize, policy: &mut P, store: &dyn RunStore) -> Result<Stages<P>, StageError>;

    /// Which stages of the phase that was built last are not those that the recipe asks for.
    fn replaced(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A phase that is ready to run, for a list of phases that need nothing from one another.
pub struct Phase<P: ?Sized> {
    /// Unique name.
    pub name: String,
    /// Makes its stages.
    pub build: BuildStages<P>,
}

/// A closure that makes the stages of a phase.
pub type BuildStages<P> = Box<dyn FnMut(&mut P, &dyn RunStore) -> Result<Stages<P>, StageError>>;

impl<P: ?Sized> Phase<P> {
    /// A phase by name and closure.
    pub fn new(
        name: impl Into<String>,
        build: impl FnMut(&mut P, &dyn RunStore) -> Result<Stages<P>, StageError> + 'static,
    ) -> Self {
        Self { name: name.into(), build: Box::new(build) }
    }
}

impl<P: ?Sized> PhaseBuilder<P> for Vec<Phase<P>> {
    fn names(&self) -> Vec<String> {
        self.iter().map(|phase| phase.name.clone()).collect()
    }

    fn build(&mut self, index: usize, policy: &mut P, store: &dyn RunStore) -> Result<Stages<P>, StageError> {
        (self[index].build)(policy, store)
    }
}

/// The stages of one phase.
#[expect(clippy::large_enum_variant, reason = "a run has one at a time")]
pub enum Stages<P: ?Sized> {
    /// Reinforcement learning.
    Rl(RlStages<P>),
    /// Supervised fine-tuning.
    Sft(SftStages<P>),
    /// Rejection sampling.
    Reject(RejectStages<P>),
    /// Evaluation.
    Eval(EvalStages<P>),
}

impl<P: ?Sized> Stages<P> {
    /// The kind as a recipe writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rl(_) => "grpo",
            Self::Sft(_) => "sft",
            Self::Reject(_) => "reject",
            Self::Eval(_) => "eval",
        }
    }

    /// What a step is made of, in words.
    pub fn batch(&self) -> String {
        let asked = |questions: usize, sampling: &SamplingParams| match sampling.group_size {
            1 => format!("{questions} questions"),
            n => format!("{questions} questions x {n} answers"),
        };
        match self {
            Self::Rl(stages) => asked(stages.prompts_per_step, &stages.sampling),
            Self::Sft(stages) if stages.demonstrations.is_empty() => "0 demonstrations".to_owned(),
            Self::Sft(stages) => {
                let (size, n) = (stages.batch_size, stages.demonstrations.len());
                let passes = (stages.steps as f64 * size as f64) / n as f64;
                format!("{size} demonstrations, {passes:.1} passes over {n}")
            }
            Self::Reject(stages) => asked(stages.prompts_per_step, &stages.sampling),
            Self::Eval(stages) => asked(stages.prompts_per_step, &stages.sampling),
        }
    }

    /// How many steps there are: optimizer steps, or chunks of questions.
    pub fn total(&self) -> u64 {
        match self {
            Self::Rl(stages) => stages.steps,
            // Without demonstrations the phase is passed over.
            Self::Sft(stages) if stages.demonstrations.is_empty() => 0,
            Self::Sft(stages) => stages.steps,
            Self::Reject(stages) => chunks(stages.questions.len(), stages.prompts_per_step),
            Self::Eval(stages) => stages
                .benchmarks
                .iter()
                .map(|benchmark| chunks(benchmark.samples().len(), stages.prompts_per_step))
                .sum(),
        }
    }
}

/// Chunks of at most `size` in `n`.
pub(crate) fn chunks(n: usize, size: usize) -> u64 {
    n.div_ceil(size.max(1)) as u64
}

/// Reinforcement learning: answers, rewards, advantages, an update (`rl.rs`).
pub struct RlStages<P: ?Sized> {
    /// Steps of the phase.
    pub steps: u64,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// How completions are drawn; the loop sets the seed.
    pub sampling: SamplingParams,
    /// Which samples come next.
    pub curriculum: Box<dyn Curriculum>,
    /// Answers them.
    pub rollout: Box<dyn RolloutEngine<P>>,
    /// Scores the answers.
    pub reward: Box<dyn Reward>,
    /// Whether an answer whose reward failed or timed out counts as 0 in its group; else it leaves the group's statistics
    /// and teaches nothing.
    pub pay_zero: bool,
    /// What answers count for that the length limit has cut.
    pub cut_answers: CutAnswers,
    /// Compares the answers of a group; the optimizer has the same one.
    pub advantage: Arc<dyn AdvantageEstimator>,
    /// Asked in order; the first one to reject a group gives the reason.
    pub filters: Vec<Box<dyn GroupFilter>>,
    /// Asks more questions to make up for rejected groups; none asks `prompts_per_step` once.
    pub refill: Option<Box<dyn Refill>>,
    /// What is checked before the first step; none checks nothing.
    pub preflight: Option<Preflight>,
    /// When the phase stops because it learns nothing; none never stops it.
    pub guard: Option<Guard>,
    /// Moves the weights.
    pub optimizer: Box<dyn PolicyOptimizer<P>>,
    /// Updates in a row that may be left out because loss or gradient are not finite; the last one stops the run.
    pub max_skipped: u64,
    /// What is asked while the phase trains; none asks nothing.
    pub validation: Option<Validation<P>>,
}

/// Supervised fine-tuning (`sft.rs`).
pub struct SftStages<P: ?Sized> {
    /// Steps of the phase.
    pub steps: u64,
    /// Demonstrations per step.
    pub batch_size: usize,
    /// What to imitate; shuffled anew each epoch.
    pub demonstrations: Vec<Demonstration>,
    /// Moves the weights.
    pub trainer: Box<dyn SupervisedTrainer<P>>,
    /// What is asked while the phase trains; none asks nothing.
    pub validation: Option<Validation<P>>,
}

/// Rejection sampling (`reject.rs`).
pub struct RejectStages<P: ?Sized> {
    /// What to ask.
    pub questions: Vec<Arc<Sample>>,
    /// Questions per rollout call; also what a resume repeats at most.
    pub prompts_per_step: usize,
    /// How completions are drawn, `group_size` is N; the loop sets the seed.
    pub sampling: SamplingParams,
    /// Answers the questions.
    pub rollout: Box<dyn RolloutEngine<P>>,
    /// Scores the answers, 0 to 100.
    pub judge: Box<dyn Judge>,
    /// Picks the answers to keep.
    pub selector: Box<dyn Selector>,
}

/// Evaluation (`eval.rs`).
pub struct EvalStages<P: ?Sized> {
    /// What to measure.
    pub benchmarks: Vec<Box<dyn Benchmark>>,
    /// Questions per rollout call; also what a resume repeats at most.
    pub prompts_per_step: usize,
    /// How completions are drawn; the loop sets the seed.
    pub sampling: SamplingParams,
    /// Answers the questions.
    pub rollout: Box<dyn RolloutEngine<P>>,
}
