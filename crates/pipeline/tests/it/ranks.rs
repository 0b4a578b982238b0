//! A run of several ranks is the run of one: same answers, same records, same weights.

use std::{path::Path, thread};

use reft_core::{StageError, Task};
use reft_pipeline::{Observer, Outcome, Phase, RunError, Stages, StepReport};
use reft_testkit::{TablePolicy, ThreadPeers};

use crate::{ahead, toy};

type Ended = (Result<Outcome, RunError>, TablePolicy);

/// What each rank ends with.
fn ranks(
    dir: &Path,
    size: usize,
    phases: impl Fn(usize) -> toy::Phases + Sync,
    observer: impl Fn(usize) -> Box<dyn Observer> + Sync,
) -> Vec<Ended> {
    thread::scope(|scope| {
        let one = |(rank, peers): (usize, ThreadPeers)| {
            let (phases, observer) = (&phases, &observer);
            scope.spawn(move || toy::run_rank(dir, phases(rank), &mut *observer(rank), &peers))
        };
        let threads: Vec<_> = ThreadPeers::all(size).into_iter().enumerate().map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn watched_by_nobody(_rank: usize) -> Box<dyn Observer> {
    Box::new(())
}

#[test]
fn several_ranks_leave_what_one_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("alone");
    let (_, expected) = toy::run(&alone, toy::phases(), &mut ());
    // With five there are more ranks than questions of a step.
    for size in [2, 3, 5] {
        let shared = dir.path().join(size.to_string());
        for (outcome, policy) in ranks(&shared, size, |_| toy::phases(), watched_by_nobody) {
            assert_eq!(outcome.unwrap(), Outcome::Finished { global_step: 100 });
            assert_eq!(policy, expected, "{size} ranks");
        }
        toy::assert_same_results(&alone, &shared);
    }
}

/// With five there are more ranks than questions of a step.
#[test]
fn several_ranks_ask_ahead_as_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("alone");
    let (_, expected) = toy::run(&alone, ahead::phases(), &mut ());
    for size in [2, 5] {
        let shared = dir.path().join(size.to_string());
        for (outcome, policy) in ranks(&shared, size, |_| ahead::phases(), watched_by_nobody) {
            assert_eq!(outcome.unwrap(), Outcome::Finished { global_step: 20 });
            assert_eq!(policy, expected, "{size} ranks");
        }
        toy::assert_same_results(&alone, &shared);
    }
}

/// Asks to stop after so many steps.
struct Stops(u64);

impl Observer for Stops {
    fn should_stop(&self) -> bool {
        self.0 == 0
    }

    fn step_done(&mut self, _: &StepReport<'_>) {
        self.0 = self.0.saturating_sub(1);
    }
}

/// Any rank may be told to stop, and any number of ranks may go on.
#[test]
fn a_stop_of_one_rank_stops_all_and_other_numbers_of_ranks_resume() {
    let dir = tempfile::tempdir().unwrap();
    let (alone, shared) = (dir.path().join("alone"), dir.path().join("shared"));
    let _ = toy::run(&alone, toy::phases(), &mut ());
    for (size, steps) in [(3, 17), (1, 30), (2, 40)] {
        let stops = |rank: usize| -> Box<dyn Observer> {
            if rank + 1 == size { Box::new(Stops(steps)) } else { Box::new(()) }
        };
        for (outcome, _) in ranks(&shared, size, |_| toy::phases(), stops) {
            assert!(matches!(outcome.unwrap(), Outcome::Interrupted { .. }), "{size} ranks");
        }
    }
    for (outcome, _) in ranks(&shared, 4, |_| toy::phases(), watched_by_nobody) {
        assert_eq!(outcome.unwrap(), Outcome::Finished { global_step: 100 });
    }
    toy::assert_same_results(&alone, &shared);
}

#[test]
fn an_error_of_one_rank_reaches_all_and_names_it() {
    struct Fails;
    impl reft_core::Reward for Fails {
        fn name(&self) -> &'static str {
            "fails"
        }
        fn score(&self, sample: &reft_core::Sample, _: &reft_core::Completion) -> Result<f32, StageError> {
            assert_eq!(sample.task, Task::Math);
            Err(StageError::sample(&sample.id, "its solution is empty"))
        }
    }
    let phases = |rank: usize| -> toy::Phases {
        vec![Phase::new("open", move |_, _| {
            let mut stages = toy::rl_stages("open", 5);
            if rank == 1 {
                stages.reward = Box::new(Fails);
            }
            Ok(Stages::Rl(stages))
        })]
    };
    let dir = tempfile::tempdir().unwrap();
    let errors: Vec<String> = ranks(&dir.path().join("run"), 3, phases, watched_by_nobody)
        .into_iter()
        .map(|(outcome, _)| std::error::Error::source(&outcome.unwrap_err()).unwrap().to_string())
        .collect();
    assert!(errors[0].starts_with("rank 1: sample `"), "{errors:?}");
    assert_eq!(errors[0], errors[2]);
    assert_eq!(errors[0], format!("rank 1: {}", errors[1]));
}
