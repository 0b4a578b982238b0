//! Runs the example programs as they were built for this test run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Command};

/// `target/<profile>/examples/NAME`, beside this test's own `deps` folder.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples").join(name)
}

fn run(name: &str, args: &[&str]) -> String {
    let runs = tempfile::tempdir().unwrap();
    let mut program = Command::new(example(name));
    program.args(args).arg(runs.path()).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = program.env("GOMP_SPINCOUNT", "5000").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn full_pipeline() {
    let printed = run("full_pipeline", &["configs/smoke.toml"]);
    assert!(printed.contains("binary (grpo, 3 steps)"), "{printed}");
    assert!(printed.contains("curr-reft") && printed.contains("Finished"), "{printed}");
}

#[test]
fn custom_reward() {
    assert!(run("custom_reward", &[]).contains("Finished"));
}

#[test]
fn custom_loss() {
    assert!(run("custom_loss", &[]).contains("Finished"));
}

#[test]
fn custom_gradient() {
    assert!(run("custom_gradient", &[]).contains("Finished"));
}

#[test]
fn custom_curriculum() {
    assert!(run("custom_curriculum", &[]).contains("Finished"));
}
