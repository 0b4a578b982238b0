//! An engine that answers the next step's questions while this one trains.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use reft_core::{Checkpointed as _, Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_pipeline::{Observer, Outcome, Phase, Stages, StepReport};
use reft_store::{RunReader, read_rows};
use reft_testkit::{AskAgain, TablePolicy, ToyEngine};

use crate::toy::{self, Phases, rl_stages};

/// Draws what it is given ahead at once, as fast servers would.
#[derive(Default)]
struct EarlyEngine {
    begun: Option<(SamplingParams, Vec<Group>, Option<u64>)>,
    lag: u64,
}

impl RolloutEngine<TablePolicy> for EarlyEngine {
    fn generate(
        &mut self,
        policy: &TablePolicy,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        self.lag = 0;
        let Some((begun, groups, digest)) = self.begun.take() else {
            return ToyEngine.generate(policy, samples, params, progress);
        };
        let asked: Vec<_> = samples.iter().map(|sample| &sample.id).collect();
        assert_eq!(groups.iter().map(|group| &group.sample.id).collect::<Vec<_>>(), asked);
        assert_eq!(begun, *params);
        self.lag = u64::from(digest != policy.digest());
        Ok(groups)
    }

    fn lag(&self) -> u64 {
        self.lag
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn begin(
        &mut self,
        policy: &TablePolicy,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
    ) -> Result<(), StageError> {
        let groups = ToyEngine.generate(policy, samples, params, &mut |_, _| true)?;
        self.begun = Some((params.clone(), groups, policy.digest()));
        Ok(())
    }
}

/// Twenty steps that ask again where groups are missing; a checkpoint every five.
pub(crate) fn phases() -> Phases {
    vec![Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 20);
        stages.rollout = Box::new(EarlyEngine::default());
        stages.refill = Some(Box::new(AskAgain::default()));
        Ok(Stages::Rl(stages))
    })]
}

/// What was asked in each step, and the versions of the policy that answered.
fn asked(run: &Path) -> Vec<(Vec<String>, BTreeSet<u64>)> {
    let files = RunReader::open(run).unwrap().completions("open").unwrap();
    let step = |file: &std::path::PathBuf| {
        let rows = read_rows(file).unwrap();
        let text = |row: &serde_json::Map<_, serde_json::Value>| row["sample"].as_str().unwrap().to_owned();
        let version = |row: &serde_json::Map<_, serde_json::Value>| row["policy_version"].as_u64().unwrap();
        (rows.iter().map(text).collect(), rows.iter().map(version).collect())
    };
    files.iter().map(step).collect()
}

#[test]
fn answers_are_one_update_behind_but_for_those_after_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    toy::run(&root, phases(), &mut ()).0.unwrap();
    let asked = asked(&root);
    assert_eq!(asked.len(), 20);
    for (step, (_, versions)) in asked.iter().enumerate() {
        let step = step as u64;
        let first = if step.is_multiple_of(5) { step } else { step - 1 };
        assert_eq!(versions.first(), Some(&first), "step {step}");
        // Refilled groups are drawn when they are wanted.
        assert!(versions.iter().all(|&version| version == first || version == step), "step {step}");
    }
    assert!(asked.iter().any(|(_, versions)| versions.len() == 2), "no step was refilled");
}

/// Dies in place of saying that a step is done, and leaves what a killed process would.
struct DieAt(u64);

impl Observer for DieAt {
    fn step_done(&mut self, step: &StepReport<'_>) {
        assert_ne!(step.step, self.0, "dies as the test wants");
    }
}

#[test]
fn a_run_that_dies_is_the_run_that_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
    toy::run(&whole, phases(), &mut ()).0.unwrap();
    for step in [2, 5, 6, 13, 19] {
        let died = catch_unwind(AssertUnwindSafe(|| toy::run(&pieces, phases(), &mut DieAt(step))));
        assert!(died.is_err(), "step {step}");
    }
    toy::run(&pieces, phases(), &mut ()).0.unwrap();
    toy::assert_same_results(&whole, &pieces);
}

/// Stops behind a step.
struct StopBehind(u64, bool);

impl Observer for StopBehind {
    fn step_done(&mut self, step: &StepReport<'_>) {
        self.1 |= step.step == self.0;
    }

    fn should_stop(&self) -> bool {
        self.1
    }
}

#[test]
fn what_was_asked_before_a_stop_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
    toy::run(&whole, phases(), &mut ()).0.unwrap();
    let stopped = toy::run(&pieces, phases(), &mut StopBehind(7, false)).0.unwrap();
    assert!(matches!(stopped, Outcome::Interrupted { step: 7, .. }), "{stopped:?}");
    toy::run(&pieces, phases(), &mut ()).0.unwrap();
    let (whole, pieces) = (asked(&whole), asked(&pieces));
    assert_eq!(whole[..7], pieces[..7]);
    // The first batch; which questions follow depends on the answers.
    assert_eq!(whole[7].0[..4 * 8], pieces[7].0[..4 * 8]);
    assert_eq!((whole[7].1.first(), pieces[7].1.first()), (Some(&6), Some(&7)), "by newer weights");
}
