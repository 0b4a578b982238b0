//! What is run, and which arms a run holds.

use std::collections::BTreeMap;

use crate::study::{Study, VALIDATION};

/// A run of the plan: one recipe with one seed, or the test of one of its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Recipe in the recipes' folder, without its ending.
    pub(crate) recipe: &'static str,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Tests this run's checkpoint after so many steps, instead of training.
    pub(crate) checkpoint_of: Option<(&'static str, u64)>,
    /// The learning rate, where it is not the recipe's.
    pub(crate) rate: Option<&'static str>,
    /// Whether it is there to choose a learning rate, and so tested on [`VALIDATION`].
    pub(crate) tunes: bool,
}

/// The learning rate of each recipe that has one of its own.
pub(crate) type Rates = BTreeMap<&'static str, &'static str>;

/// Seed of the runs that choose learning rates; no arm is run with it.
const TUNING_SEED: u64 = 1000;

impl Job {
    /// A training run with the recipe's own settings.
    pub(crate) fn train(recipe: &'static str, seed: u64) -> Self {
        Self { recipe, seed, checkpoint_of: None, rate: None, tunes: false }
    }

    /// The name of the run directory.
    pub(crate) fn name(&self) -> String {
        match (self.checkpoint_of, self.rate) {
            (Some((recipe, step)), _) => point_name(recipe, self.seed, step),
            (None, Some(rate)) if self.tunes => tuning_name(self.recipe, rate),
            (None, _) => run_name(self.recipe, self.seed),
        }
    }

    /// What is laid over the recipe.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut settings = vec![format!("run.seed={}", self.seed)];
        // The phase of the recipe `sft`; the `sft` phase of self-improvement keeps its own rate.
        let key = if self.recipe == "sft" { "phase.sft.lr" } else { "grpo.lr" };
        settings.extend(self.rate.map(|rate| format!("{key}={rate}")));
        settings.extend(self.tunes.then(|| format!("eval.data=[\"{VALIDATION}\"]")));
        settings
    }
}

/// Directory of a run.
pub(crate) fn run_name(recipe: &str, seed: u64) -> String {
    format!("{recipe}-seed{seed}")
}

/// Directory of the test of a run's checkpoint.
pub(crate) fn point_name(recipe: &str, seed: u64, step: u64) -> String {
    format!("{recipe}-seed{seed}-step{step}")
}

/// Directory of a run that tries a learning rate.
pub(crate) fn tuning_name(recipe: &str, rate: &str) -> String {
    format!("{recipe}-rate{rate}")
}

/// The recipe of the untouched checkpoint. Its greedy test has no chance in it, so it runs once.
pub(crate) const BASE: &str = "base";

/// Steps whose checkpoints are tested for the learning curves. The last step is tested by the run itself.
pub(crate) const POINTS: [u64; 3] = [12, 24, 48];

/// The runs that learning rates are chosen by: every recipe that trains with every rate, the same for all.
pub(crate) fn tuning(study: &'static Study) -> Vec<Job> {
    let tried = study.trained.iter().flat_map(|&recipe| {
        let job = move |&rate| Job { rate: Some(rate), tunes: true, ..Job::train(recipe, TUNING_SEED) };
        study.rates.iter().map(job)
    });
    tried.collect()
}

/// Every run in order: all arms of a seed before the next seed, so that what a stopped command leaves is comparable;
/// then the points of the curves, and what stands beside.
pub(crate) fn jobs(study: &'static Study, seeds: u64, rates: &Rates) -> Vec<Job> {
    let train = |recipe, seed| Job { rate: rates.get(recipe).copied(), ..Job::train(recipe, seed) };
    let points = |recipe, seed| {
        POINTS.map(|step| Job { checkpoint_of: Some((recipe, step)), ..Job::train(BASE, seed) })
    };
    let mut jobs = vec![Job::train(BASE, 0)];
    jobs.extend((0..seeds).flat_map(|seed| study.trained.iter().map(move |&recipe| train(recipe, seed))));
    jobs.extend(
        (0..seeds).flat_map(|seed| study.trained.iter().flat_map(move |&recipe| points(recipe, seed))),
    );
    for &recipe in study.beside {
        jobs.extend(
            (0..seeds).flat_map(|seed| [train(recipe, seed)].into_iter().chain(points(recipe, seed))),
        );
    }
    jobs
}

/// An arm: the state of a run at one of its evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    /// Its name.
    pub(crate) label: &'static str,
    /// The recipe.
    pub(crate) recipe: &'static str,
    /// The evaluation.
    pub(crate) phase: &'static str,
}

pub(crate) const fn arm(label: &'static str, recipe: &'static str, phase: &'static str) -> Arm {
    Arm { label, recipe, phase }
}

/// The evaluation after all steps.
pub(crate) const TEST: &str = "test";

/// A comparison of two arms, and what the paper says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// The arm that is said to be better.
    pub(crate) arm: &'static str,
    /// The arm it is compared with.
    pub(crate) against: &'static str,
    /// The paper.
    pub(crate) paper: &'static str,
}

pub(crate) const fn claim(arm: &'static str, against: &'static str, paper: &'static str) -> Claim {
    Claim { arm, against, paper }
}
