//! Phases that learn nothing stop, and say why.

use std::path::Path;

use reft_core::RolloutEngine;
use reft_pipeline::{Guard, Outcome, Phase, Stages};
use reft_store::RunReader;
use reft_testkit::{ScriptedEngine, TablePolicy, ToyEngine};

use crate::{
    cut::Cut,
    interrupt::StopAfter,
    toy::{self, rl_stages},
};

type Engine = Box<dyn RolloutEngine<TablePolicy>>;

fn says(texts: &[&str]) -> ScriptedEngine {
    ScriptedEngine { texts: texts.iter().map(|&text| text.into()).collect() }
}

fn guarded(window: usize, engine: impl Fn() -> Engine + 'static) -> Phase<TablePolicy> {
    Phase::new("open", move |_, _| {
        let mut stages = rl_stages("open", 20);
        stages.rollout = engine();
        stages.guard = Some(Guard { window, min_teaching: 0.1, max_truncated: 0.9 });
        Ok(Stages::Rl(stages))
    })
}

/// The message of a run that stops, and the steps that it recorded.
fn stopped(root: &Path, window: usize, engine: impl Fn() -> Engine + 'static) -> (String, usize) {
    let error = toy::run(root, vec![guarded(window, engine)], &mut ()).0.unwrap_err().to_string();
    (error, RunReader::open(root).unwrap().metrics().unwrap().len())
}

#[test]
fn a_phase_without_signal_stops_with_a_diagnosis() {
    // What the answers are, and what is said about them.
    let cases: [(&[&str], &str, &str); 3] = [
        (&["nine"], "hardly ever in the asked format", "pays 0.00: \"nine\", right is"),
        (
            &["<think>hm</think><answer>nine</answer>"],
            "too hard, or right answers are not recognised",
            "pays 1.00: \"<think>hm</think><answer>nine</answer>\"",
        ),
        (&["<think>hm</think>"], "hardly ever in the asked format", "pays 0.00"),
    ];
    for (texts, cause, miss) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (error, steps) = stopped(&dir.path().join("run"), 6, move || Box::new(says(texts)));
        for expected in [
            "phase `open`, step 7: guard: over the last 6 steps only 0.0 % of the groups",
            cause,
            miss,
            "100 % all wrong",
            "`guard.window = 0`",
        ] {
            assert!(error.contains(expected), "`{expected}` is not in: {error}");
        }
        assert_eq!((steps, error.matches("right is").count()), (6, 3), "{error}");
    }
}

#[test]
fn a_phase_whose_answers_are_all_cut_stops() {
    let dir = tempfile::tempdir().unwrap();
    // Half of them are right, so there is a signal.
    let engine = || -> Engine {
        Box::new(Cut { engine: says(&["<think>hm</think><answer>0</answer>", "1"]), from: 0 })
    };
    let (error, steps) = stopped(&dir.path().join("run"), 4, engine);
    assert!(error.contains("100.0 % of the answers were cut") && error.contains("max_new_tokens"), "{error}");
    assert_eq!(steps, 4);
}

#[test]
fn a_phase_that_learns_is_left_alone_and_a_resumed_guard_stops_at_the_same_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let healthy = toy::run(&path("healthy"), vec![guarded(5, || Box::new(ToyEngine))], &mut ()).0;
    assert_eq!(healthy.unwrap(), Outcome::Finished { global_step: 20 });

    let silent = || -> Engine { Box::new(says(&["nine"])) };
    let (whole, steps) = stopped(&path("whole"), 12, silent);
    assert_eq!(steps, 12);
    // Stopped by hand after step 7 or so, the guard still counts the steps before.
    let first = toy::run(&path("pieces"), vec![guarded(12, silent)], &mut StopAfter(30)).0.unwrap();
    assert!(matches!(first, Outcome::Interrupted { step: 1..12, .. }), "{first:?}");
    assert_eq!(stopped(&path("pieces"), 12, silent), (whole, 12));
}
