//! The two studies: which arms are run, what they are compared by, and where it is written.

use crate::plan::{Arm, BASE, Claim, TEST, arm, claim};

/// A study over the recipes of one folder.
#[derive(Debug)]
pub(crate) struct Study {
    /// Its name on the command line, and the beginning of its curves' files.
    pub(crate) name: &'static str,
    /// A recipe that lies between `common.toml` and those of the arms.
    pub(crate) over_common: Option<&'static str>,
    /// Recipes that train, each run with every seed.
    pub(crate) trained: &'static [&'static str],
    /// Recipes that can wait.
    pub(crate) beside: &'static [&'static str],
    /// Learning rates of which each recipe gets the one that does best on [`VALIDATION`]; none leaves the recipes'.
    pub(crate) rates: &'static [&'static str],
    /// The arms in the order of the table.
    pub(crate) arms: &'static [Arm],
    /// The comparisons in the order of the table.
    pub(crate) claims: &'static [Claim],
    /// Benchmarks and what they are called; the first two have curves.
    pub(crate) benchmarks: &'static [(&'static str, &'static str)],
    /// Files and titles of the curves.
    pub(crate) curves: &'static [(&'static str, &'static str)],
}

/// The data set of the recipes that learning rates are chosen on.
pub(crate) const VALIDATION: &str = "val";

/// The evaluation after self-improvement.
const IMPROVED: &str = "improved";

const ID: (&str, &str) = ("id", "in-domain");
const OOD: (&str, &str) = ("ood", "out-of-domain");

/// The paper's ablation on the tasks of the demo.
const PAPER: Study = Study {
    name: "ablation",
    over_common: None,
    trained: &["curr", "rl", "sft", "reverse", "mix", "binary", "choice"],
    beside: &["sft-worked"],
    rates: &[],
    arms: &[
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
    ],
    claims: &[
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
    ],
    benchmarks: &[ID, OOD],
    curves: &[
        ("ablation_id.svg", "In-domain accuracy, %"),
        ("ablation_ood.svg", "Out-of-domain accuracy, %"),
        ("ablation_reading.svg", "Sampled answers that read the scene first, %"),
    ],
};

/// Open questions out of reach at the start: `configs/ablation/hard.toml`.
const HARD: Study = Study {
    name: "hard",
    over_common: Some("hard"),
    trained: &["rl", "curr", "mix", "reverse", "binary", "choice", "sec", "pools", "adarft", "sft"],
    beside: &[],
    rates: &["5e-5", "1e-4", "2e-4"],
    arms: &[
        arm("Base", BASE, TEST),
        arm("SFT", "sft", TEST),
        arm("RL", "rl", TEST),
        arm("Curr-RL", "curr", TEST),
        arm("Reverse", "reverse", TEST),
        arm("Mix", "mix", TEST),
        arm("Binary only", "binary", TEST),
        arm("Choice only", "choice", TEST),
        arm("SEC", "sec", TEST),
        arm("Pools", "pools", TEST),
        arm("AdaRFT", "adarft", TEST),
        arm("RL + self-improvement", "rl", IMPROVED),
        arm("Curr-ReFT", "curr", IMPROVED),
    ],
    claims: &[
        claim("Curr-RL", "RL", "+4 to +6 in-domain, +4 to +10 out-of-domain"),
        claim("Curr-RL", "Reverse", "better"),
        claim("Curr-RL", "Mix", "better"),
        claim("Curr-RL", "Binary only", "better"),
        claim("Curr-RL", "Choice only", "better"),
        claim("Curr-RL", "SEC", ""),
        claim("Curr-RL", "Pools", ""),
        claim("Curr-RL", "AdaRFT", ""),
        claim("Curr-ReFT", "Curr-RL", "better"),
        claim("Curr-ReFT", "RL + self-improvement", ""),
        claim("RL", "Base", "better in both"),
        claim("RL", "SFT", "better out-of-domain"),
    ],
    benchmarks: &[ID, OOD, ("blind", "in-domain, grey pictures")],
    curves: &[
        ("hard_id.svg", "Three cells at once: in-domain accuracy, %"),
        ("hard_ood.svg", "Three cells at once: out-of-domain accuracy, %"),
        ("hard_reading.svg", "Three cells at once: sampled answers that read the scene first, %"),
    ],
};

/// Which study the command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Task {
    /// The paper's ablation on the tasks of the demo.
    #[default]
    Demo,
    /// Three cells at once: open questions are out of reach at the start.
    Hard,
}

impl Task {
    /// The study.
    pub(crate) fn study(self) -> &'static Study {
        match self {
            Self::Demo => &PAPER,
            Self::Hard => &HARD,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Rates, jobs, tuning};

    #[test]
    fn every_arm_is_run_and_every_run_is_an_arm() {
        for study in [&PAPER, &HARD] {
            let run: BTreeSet<&str> = jobs(study, 2, &Rates::new())
                .iter()
                .filter(|job| job.checkpoint_of.is_none())
                .map(|job| job.recipe)
                .collect();
            assert_eq!(run, study.arms.iter().map(|arm| arm.recipe).collect(), "{}", study.name);
            for claim in study.claims {
                for label in [claim.arm, claim.against] {
                    assert!(study.arms.iter().any(|arm| arm.label == label), "{label}");
                }
            }
        }
    }

    #[test]
    fn every_arm_is_tuned_alike() {
        let jobs = tuning(&HARD);
        assert_eq!(jobs.len(), HARD.trained.len() * HARD.rates.len());
        assert!(jobs.iter().all(|job| job.seed == jobs[0].seed && job.tunes));
        assert!(tuning(&PAPER).is_empty());
    }

    #[test]
    fn no_two_runs_share_a_folder() {
        let mut all = jobs(&HARD, 3, &Rates::new());
        all.extend(tuning(&HARD));
        let names: BTreeSet<String> = all.iter().map(crate::plan::Job::name).collect();
        assert_eq!(names.len(), all.len());
    }
}
