//! What is run, and which arms of the paper a run holds.

/// A run of the plan: one recipe with one seed, or the test of one of its checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The arms of the paper that train, each run with every seed.
const TRAINED: [&str; 7] = ["curr", "rl", "sft", "reverse", "mix", "binary", "choice"];

/// An arm that the paper does not have; it can wait.
const BESIDE: &str = "sft-worked";

/// Steps whose checkpoints are tested for the learning curves. The last step is tested by the run itself.
pub(crate) const POINTS: [u64; 3] = [12, 24, 48];

/// Every run in order: all arms of a seed before the next seed, so that what a stopped command leaves is comparable;
/// then the points of the curves, and what stands beside.
pub(crate) fn jobs(seeds: u64) -> Vec<Job> {
    let trained = |seed| TRAINED.map(|recipe| Job::train(recipe, seed));
    let points =
        |recipe, seed| POINTS.map(|step| Job { recipe: BASE, seed, checkpoint_of: Some((recipe, step)) });
    let mut jobs = vec![Job::train(BASE, 0)];
    jobs.extend((0..seeds).flat_map(trained));
    jobs.extend((0..seeds).flat_map(|seed| TRAINED.into_iter().flat_map(move |recipe| points(recipe, seed))));
    jobs.extend(
        (0..seeds).flat_map(|seed| [Job::train(BESIDE, seed)].into_iter().chain(points(BESIDE, seed))),
    );
    jobs
}

/// A benchmark of the recipes and what it is called.
pub(crate) const BENCHMARKS: [(&str, &str); 2] = [("id", "in-domain"), ("ood", "out-of-domain")];

/// An arm of the paper: the state of a run at one of its evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    /// Its name.
    pub(crate) label: &'static str,
    /// The recipe.
    pub(crate) recipe: &'static str,
    /// The evaluation.
    pub(crate) phase: &'static str,
}

const fn arm(label: &'static str, recipe: &'static str, phase: &'static str) -> Arm {
    Arm { label, recipe, phase }
}

/// All arms in the order of the table.
pub(crate) const ARMS: [Arm; 11] = [
    arm("Base", BASE, TEST),
    arm("SFT", "sft", TEST),
    arm("SFT (worked)", "sft-worked", TEST),
    arm("RL", "rl", TEST),
    arm("Curr-RL", "curr", TEST),
    arm("Reverse", "reverse", TEST),
    arm("Mix", "mix", TEST),
    arm("Binary only", "binary", TEST),
    arm("Choice only", "choice", TEST),
    arm("RL + self-improvement", "rl", IMPROVED),
    arm("Curr-ReFT", "curr", IMPROVED),
];

/// The evaluation after all steps.
pub(crate) const TEST: &str = "test";
/// The evaluation after self-improvement.
const IMPROVED: &str = "improved";

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

const fn claim(arm: &'static str, against: &'static str, paper: &'static str) -> Claim {
    Claim { arm, against, paper }
}

/// All comparisons in the order of the table.
pub(crate) const CLAIMS: [Claim; 10] = [
    claim("Curr-RL", "RL", "+4 to +6 in-domain, +4 to +10 out-of-domain"),
    claim("Curr-RL", "Reverse", "better"),
    claim("Curr-RL", "Mix", "better"),
    claim("Curr-RL", "Binary only", "better"),
    claim("Curr-RL", "Choice only", "better"),
    claim("Curr-ReFT", "Curr-RL", "better"),
    claim("Curr-ReFT", "RL + self-improvement", ""),
    claim("SFT", "Base", "better in-domain, worse out-of-domain"),
    claim("RL", "Base", "better in both"),
    claim("RL", "SFT", "better out-of-domain"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_arm_is_run_and_every_run_is_an_arm() {
        let run: BTreeSet<&str> =
            jobs(2).iter().filter(|job| job.checkpoint_of.is_none()).map(|job| job.recipe).collect();
        assert_eq!(run, ARMS.iter().map(|arm| arm.recipe).collect());
        for claim in CLAIMS {
            for label in [claim.arm, claim.against] {
                assert!(ARMS.iter().any(|arm| arm.label == label), "{label}");
            }
        }
    }

    #[test]
    fn no_two_runs_share_a_folder() {
        let jobs = jobs(3);
        let names: BTreeSet<String> = jobs.iter().map(Job::name).collect();
        assert_eq!(names.len(), jobs.len());
    }
}
