//! SIGKILL at many instants of every phase kind, in a real process: the resumed run is the uninterrupted one, bit for bit.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use reft_core::Seed;
use reft_pipeline::{Observer, PhaseInfo, StepReport};

use crate::toy;

const DIR: &str = "REFT_TOY_RUN_DIR";

/// Writes a line per phase and step, so that the parent can choose its moment.
struct Announce;

impl Observer for Announce {
    fn phase_started(&mut self, phase: &PhaseInfo<'_>) {
        announce(phase.name);
    }

    fn step_done(&mut self, step: &StepReport<'_>) {
        announce(step.phase);
    }
}

fn announce(phase: &str) {
    let mut out = std::io::stdout().lock();
    // Fails when the parent has gone; the run is then of no interest any more.
    let _ = writeln!(out, "\n@{phase}").and_then(|()| out.flush());
}

/// The run of the child processes below. By itself: the same run in this process.
#[test]
fn toy_run() {
    if let Some(dir) = env::var_os(DIR) {
        let run = toy::run(Path::new(&dir), toy::phases(), &mut Announce);
        run.0.unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = toy::run(&dir.path().join("run"), toy::phases(), &mut ());
    run.0.unwrap();
}

/// This test binary again, with nothing but [`toy_run`].
fn child(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["kill::toy_run", "--exact", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a child that runs in `dir` as soon as it has announced `phase` for the `n`th time, `None` any phase.
/// Returns whether it lived long enough to be killed there.
fn kill_at(dir: &Path, phase: Option<&str>, n: usize) -> bool {
    let mut child = child(dir);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reached = lines
        .map_while(Result::ok)
        .filter(|line| line.strip_prefix('@').is_some_and(|name| phase.is_none_or(|phase| phase == name)))
        .nth(n)
        .is_some();
    // SIGKILL on Unix: no destructor, no handler, no flush.
    child.kill().unwrap();
    child.wait().unwrap();
    reached
}

fn uninterrupted(dir: &Path) {
    assert!(child(dir).wait_with_output().unwrap().status.success());
}

#[test]
fn killed_in_every_phase_kind() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    uninterrupted(&whole);
    let mut hit = BTreeSet::new();
    for (phase, n) in [
        ("base", 0),
        ("base", 3),
        ("binary", 0),
        ("binary", 4),
        ("binary", 6),
        ("choice", 5),
        ("open", 11),
        ("open", 20),
        ("reject", 0),
        ("reject", 2),
        ("sft", 0),
        ("sft", 5),
        ("final", 2),
        ("final", 7),
    ] {
        // On a busy machine a kill may come late and the run be past the next place already.
        if kill_at(&killed, Some(phase), n) {
            hit.insert(phase);
        }
    }
    for phase in ["base", "binary", "open", "reject", "sft"] {
        assert!(hit.contains(phase), "never killed in `{phase}`, only in {hit:?}");
    }
    uninterrupted(&killed);
    toy::assert_same_results(&whole, &killed);
}

#[test]
fn killed_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    uninterrupted(&whole);
    let mut kills = 0_u64;
    while kills < 60 {
        let after = (Seed::new(3).at(kills).uniform() * 25.0) as usize;
        if !kill_at(&killed, None, after) {
            break;
        }
        kills += 1;
    }
    assert!(kills > 5, "{kills}");
    uninterrupted(&killed);
    toy::assert_same_results(&whole, &killed);
}
