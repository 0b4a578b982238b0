//! What is run, and which arms of the paper a run holds.

/// A run of the plan: one recipe with one seed, or the test of one of its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Recipe in the recipes' folder, without its ending.
    pub(crate) recipe: &'static str,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Tests this run's checkpoint after so many steps, instead of training.
    pub(crate) checkpoint_of: Option<(&'static str, u64)>,
}

impl Job {
    fn train(recipe: &'static str, seed: u64) -> Self {
        Self { recipe, seed, checkpoint_of: None }
    }

    /// The name of the run directory.
    pub(crate) fn name(&self) -> String {
        match self.checkpoint_of {
            None => run_name(self.recipe, self.seed),
            Some((recipe, step)) => point_name(recipe, self.seed, step),
        }
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

/// The recipe of the untouched checkpoint. Its greedy test has no chance in it, so it runs once.
pub(crate) const BASE: &str = "base";

/// Recipes that train, each run with every seed. The arms that the claims are about come first.
const TRAINED: [&str; 8] = ["curr", "rl", "sft", "reverse", "mix", "binary", "choice", "sft-worked"];

/// Steps whose checkpoints are tested for the learning curves. The last step is tested by the run itself.
pub(crate) const POINTS: [u64; 5] = [12, 24, 36, 48, 60];

/// Every run in order: all arms of a seed before the next seed, so that what a stopped command leaves is comparable;
/// then the points of the curves.
pub(crate) fn jobs(seeds: u64) -> Vec<Job> {
    let trained = (0..seeds).flat_map(|seed| TRAINED.map(|recipe| Job::train(recipe, seed)));
    let points = (0..seeds).flat_map(|seed| {
        let of_recipe =
            move |recipe| POINTS.map(|step| Job { recipe: BASE, seed, checkpoint_of: Some((recipe, step)) });
        TRAINED.into_iter().flat_map(of_recipe)
    });
    std::iter::once(Job::train(BASE, 0)).chain(trained).chain(points).collect()
}
