//! Who watches a run: a progress bar, a test, nobody.

use reft_core::Metrics;

/// Sees a run's progress and may ask it to stop. Every method has a default; `()` watches nothing.
pub trait Observer {
    /// A phase starts or resumes.
    fn phase_started(&mut self, _phase: &PhaseInfo<'_>) {}

    /// Completions finished within the current step. Called often, from the loop's thread.
    fn progress(&mut self, _done: usize, _total: usize) {}

    /// A step is done and recorded.
    fn step_done(&mut self, _step: &StepReport<'_>) {}

    /// A phase asked a benchmark after `step` steps while it trained; `accuracy` is the mean score, 0 to 1.
    fn validated(&mut self, _phase: &str, _step: u64, _benchmark: &str, _accuracy: f64) {}

    /// Something a person should read.
    fn message(&mut self, _text: &str) {}

    /// Whether to stop as soon as possible, for example after Ctrl-C. Asked between steps and while completions are
    /// generated; the run then keeps all completed steps in a checkpoint.
    fn should_stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// A phase that starts or resumes.
#[derive(Clone, Copy, Debug)]
pub struct PhaseInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// `grpo`, `sft`, `reject` or `eval`.
    pub kind: &'static str,
    /// Its index, from 0.
    pub index: usize,
    /// How many phases the run has.
    pub phases: usize,
    /// Steps that an earlier process has done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
    /// What a step is made of: `16 questions x 8 answers`.
    pub batch: &'a str,
    /// The phases behind it.
    pub ahead: &'a [PhasePlan],
}

/// What is known of a phase before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhasePlan {
    /// `grpo`, `sft`, `reject` or `eval`.
    pub kind: &'static str,
    /// Its steps; none where they depend on data that are not read yet.
    pub steps: Option<u64>,
}

/// A step that is done.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'a> {
    /// The phase's name.
    pub phase: &'a str,
    /// Steps done in the phase.
    pub step: u64,
    /// Steps of the phase.
    pub total: u64,
    /// What `metrics.jsonl` holds of it.
    pub metrics: &'a Metrics,
    /// Seconds, named `time/...`.
    pub timings: &'a Metrics,
}
