//! Who may open what.

use std::fs;

use reft_core::RunStore as _;
use reft_store::{Input, RunDir, RunInfo, RunReader, StoreError};

use crate::support::{create, step};

#[test]
fn a_run_directory_in_use_is_refused_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let run = create(&root);
    let error = RunDir::open(&root).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, StoreError::InUse { .. }), "{message}");
    assert!(message.contains(&format!("process {} on host `", std::process::id())), "{message}");
    assert!(message.contains("stop it"), "{message}");

    drop(run);
    RunDir::open(&root).unwrap();
}

#[test]
fn a_run_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    step(&mut create(&root), "a", 1);
    let again = RunDir::create(&root, &RunInfo::new("test", ["a"]), "");
    assert!(matches!(again, Err(StoreError::Exists { .. })));

    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("cat.png"), "").unwrap();
    let error = RunDir::create(&photos, &RunInfo::new("test", ["a"]), "").unwrap_err();
    assert!(error.to_string().contains("other files"), "{error}");
    assert_eq!(fs::read_dir(&photos).unwrap().count(), 1);
}

/// A start that failed, because a file could not be read, say, is no run that one would miss.
#[test]
fn a_folder_in_which_nothing_was_done_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    create(&root).log("cannot read `data.jsonl`").unwrap();
    let run = RunDir::create(&root, &RunInfo::new("other", ["b"]), "seed = 1\n").unwrap();
    assert_eq!((run.info().name.as_str(), run.config().unwrap().as_str()), ("other", "seed = 1\n"));
    assert!(!fs::read_to_string(run.log_path()).unwrap().contains("cannot read"));
}

/// What a program has put in is not left out by a resume without it.
#[test]
fn a_phase_goes_on_with_the_stages_it_started_with() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    create(&root).check_replaced("a", &["reward"]).unwrap();
    let mut again = RunDir::open(&root).unwrap();
    again.check_replaced("a", &["reward"]).unwrap();
    let message = again.check_replaced("a", &[]).unwrap_err().to_string();
    assert!(message.contains("phase `a` was started with a `reward` of a program's own"), "{message}");
    assert!(message.contains("go on with the recipe's stages"), "{message}");
    again.check_replaced("b", &[]).unwrap();
}

#[test]
fn what_is_no_run_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(RunDir::open(&missing).unwrap_err().to_string().contains("no such folder"));
    assert!(RunReader::open(dir.path()).unwrap_err().to_string().contains("no `run.json`"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn every_process_has_its_log_and_the_recipe_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    drop(create(&root));
    let run = RunDir::open(&root).unwrap();
    assert_eq!(run.config().unwrap(), "seed = 0\n");
    assert!(run.log_path().ends_with("logs/attempt_2.log"));
    run.log("hello").unwrap();
    assert!(fs::read_to_string(run.log_path()).unwrap().ends_with("Z hello\n"));
    let events = RunReader::open(&root).unwrap().events().unwrap();
    let kinds: Vec<_> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["launch", "relaunch"]);
}

#[test]
fn changed_inputs_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (dir.path().join("model"), dir.path().join("data.jsonl"));
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    fs::write(&data, "1").unwrap();
    let input = |name: &str, path: &std::path::Path| Input { name: name.into(), path: path.to_owned() };
    let inputs = [input("model", &model), input("data.train", &data)];

    let run = create(&dir.path().join("run"));
    run.check_inputs(&inputs).unwrap();
    run.check_inputs(&inputs).unwrap();
    fs::write(model.join("config.json"), "{ }").unwrap();
    fs::write(&data, "2").unwrap();
    let message = run.check_inputs(&inputs).unwrap_err().to_string();
    assert!(message.contains("`model`") && message.contains("`data.train`"), "{message}");
    let message = run.check_inputs(&inputs[..1]).unwrap_err().to_string();
    assert!(message.contains("`data.train` is no longer used"), "{message}");

    fs::remove_file(&data).unwrap();
    let message = run.check_inputs(&inputs).unwrap_err().to_string();
    assert!(message.contains("cannot read") && message.contains("data.jsonl"), "{message}");
}
