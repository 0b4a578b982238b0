//! Ctrl-C anywhere: completed steps are kept, the resumed run is the uninterrupted one.

use reft_core::Seed;
use reft_pipeline::{Observer, Outcome};

use crate::toy;

/// Asks to stop after so many progress reports, which come once per question.
pub(crate) struct StopAfter(pub(crate) usize);

impl Observer for StopAfter {
    fn progress(&mut self, _done: usize, _total: usize) {
        self.0 = self.0.saturating_sub(1);
    }

    fn should_stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn stopping_in_the_middle_of_steps_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
    toy::run(&whole, toy::phases(), &mut ()).0.unwrap();

    let mut interruptions = 0_u64;
    let mut phases_seen = std::collections::BTreeSet::new();
    loop {
        let budget = 6 + (Seed::new(1).at(interruptions).uniform() * 14.0) as usize;
        match toy::run(&pieces, toy::phases(), &mut StopAfter(budget)).0 {
            Ok(Outcome::Interrupted { phase, .. }) => phases_seen.insert(phase),
            Ok(Outcome::Finished { .. }) => break,
            Err(error) => panic!("{error}"),
        };
        interruptions += 1;
        assert!(interruptions < 200, "no progress between interruptions");
    }
    assert!(interruptions > 10, "{interruptions}");
    for phase in ["base", "binary", "open", "reject"] {
        assert!(phases_seen.contains(phase), "never stopped in `{phase}`");
    }
    toy::assert_same_results(&whole, &pieces);
}

/// Stops between two steps of a phase without rollouts.
struct StopAtStep(&'static str, u64, bool);

impl Observer for StopAtStep {
    fn step_done(&mut self, step: &reft_pipeline::StepReport<'_>) {
        self.2 |= step.phase == self.0 && step.step == self.1;
    }

    fn should_stop(&self) -> bool {
        self.2
    }
}

#[test]
fn stopping_says_where_a_resume_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
    toy::run(&whole, toy::phases(), &mut ()).0.unwrap();
    let stop = toy::run(&pieces, toy::phases(), &mut StopAtStep("sft", 13, false)).0;
    assert_eq!(
        stop.unwrap(),
        Outcome::Interrupted {
            phase: "sft".into(),
            step: 13,
            checkpoint: Some(pieces.join("checkpoints/step_000093")),
        }
    );
    toy::run(&pieces, toy::phases(), &mut ()).0.unwrap();
    toy::assert_same_results(&whole, &pieces);
}
