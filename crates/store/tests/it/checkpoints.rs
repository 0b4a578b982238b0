//! Checkpoints are whole or not there, and a resume forgets exactly what came after.

use std::{fs, path::Path};

use reft_core::{Checkpoint, Checkpointed as _, Recorder as _, RunStore as _};
use reft_store::{RunDir, RunReader};
use serde_json::json;

use crate::support::{Blob, create, cursor, save, step, step_and_save};

fn resume(root: &Path) -> Option<Checkpoint> {
    RunDir::open(root).unwrap().resume().unwrap()
}

#[test]
fn a_checkpoint_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    step_and_save(&mut create(&root), cursor(1, 5, 42));
    let found = resume(&root).unwrap();
    assert_eq!(found.cursor, cursor(1, 5, 42));
    assert_eq!(found.stages, json!({"step": 5}));
    let mut blob = Blob::small(0);
    blob.load(&found.dir.join("policy")).unwrap();
    assert_eq!(blob.byte, 42);
    let latest = fs::read_to_string(root.join("checkpoints/LATEST")).unwrap();
    assert_eq!(latest, "step_000042\n");
}

#[test]
fn a_new_run_has_nothing_to_resume() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(create(&dir.path().join("run")).resume().unwrap(), None);
}

#[test]
fn old_checkpoints_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut run = create(&root);
    for n in 1..=4 {
        step_and_save(&mut run, cursor(0, n, n));
    }
    let mut names: Vec<_> = fs::read_dir(root.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["LATEST", "step_000003", "step_000004"]);
}

/// Each way to damage the newest checkpoint, and what the note about it says.
#[test]
fn a_damaged_checkpoint_is_noticed_and_the_one_before_is_used() {
    type Harm = fn(&Path);
    let ways: [(Harm, &str); 5] = [
        (
            |dir| fs::write(dir.join("policy/blob.bin"), [2; 15]).unwrap(),
            "`policy/blob.bin` has 15 bytes instead of 16",
        ),
        (
            |dir| fs::write(dir.join("policy/blob.bin"), [9; 16]).unwrap(),
            "the bytes of `policy/blob.bin` have changed",
        ),
        (|dir| fs::remove_file(dir.join("policy/blob.bin")).unwrap(), "`policy/blob.bin`: No such file"),
        (|dir| fs::write(dir.join("manifest.json"), "{").unwrap(), "`manifest.json`: EOF"),
        (|dir| fs::write(dir.join("stages.json"), "").unwrap(), "`stages.json` has 0 bytes"),
    ];
    for (harm, note) in ways {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run");
        let mut run = create(&root);
        step_and_save(&mut run, cursor(0, 1, 1));
        step_and_save(&mut run, cursor(0, 2, 2));
        drop(run);
        harm(&root.join("checkpoints/step_000002"));

        let mut run = RunDir::open(&root).unwrap();
        assert_eq!(run.resume().unwrap().unwrap().cursor, cursor(0, 1, 1));
        let reader = RunReader::open(&root).unwrap();
        assert_eq!(reader.metrics().unwrap().len(), 1);
        let events = reader.events().unwrap();
        let event = events.iter().find(|e| e["event"] == "checkpoint_damaged").unwrap();
        assert!(event["reason"].as_str().unwrap().starts_with(note), "{event:?}");

        // The way on is free: the same step is reached and saved again.
        step_and_save(&mut run, cursor(0, 2, 2));
        drop(run);
        assert_eq!(resume(&root).unwrap().cursor, cursor(0, 2, 2));
    }
}

#[test]
fn with_no_whole_checkpoint_the_run_does_not_silently_start_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    step_and_save(&mut create(&root), cursor(0, 1, 1));
    fs::remove_file(root.join("checkpoints/step_000001/stages.json")).unwrap();
    let error = RunDir::open(&root).unwrap().resume().unwrap_err();
    let message = error.to_string();
    assert!(message.contains("step_000001: `stages.json`"), "{message}");
    assert!(message.contains("delete that folder"), "{message}");
    assert_eq!(RunReader::open(&root).unwrap().metrics().unwrap().len(), 1);
}

#[test]
fn a_resume_forgets_exactly_what_came_after_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut run = create(&root);
    let finished = json!({"accuracy": 0.5});
    run.save_report("a", "bench", &[], &finished).unwrap();
    for n in 1..=3 {
        step(&mut run, "b", n);
        run.groups("b", n, &[]).unwrap();
        if n == 2 {
            save(&mut run, cursor(1, 2, 2)).unwrap();
        }
    }
    run.save_chunk(2, "b/000001", &json!([1])).unwrap();
    run.save_chunk(3, "b/000001", &json!([2])).unwrap();
    run.save_report("c", "bench", &[], &finished).unwrap();
    run.save_kept("c", &[]).unwrap();
    drop(run);
    // What a kill in the middle of a write leaves.
    let mut torn = fs::read(root.join("metrics.jsonl")).unwrap();
    torn.extend(b"{\"phase\":\"b\",\"st");
    fs::write(root.join("metrics.jsonl"), torn).unwrap();
    fs::create_dir(root.join("checkpoints/.tmp-step_000003")).unwrap();
    fs::write(root.join("completions/b/.tmp-step_000003.parquet"), "half").unwrap();

    let mut run = RunDir::open(&root).unwrap();
    run.resume().unwrap().unwrap();
    let reader = RunReader::open(&root).unwrap();
    let steps = |rows: Vec<reft_store::MetricRow>| -> Vec<u64> { rows.iter().map(|row| row.step).collect() };
    assert_eq!(steps(reader.metrics().unwrap()), [1, 2]);
    assert_eq!(steps(reader.timings().unwrap()), [1, 2]);
    assert_eq!(reader.completions("b").unwrap().len(), 2);
    assert_eq!(fs::read_dir(root.join("completions/b")).unwrap().count(), 2);
    let reports = reader.reports().unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].phase, "a");
    assert!(!root.join("rejection/c").exists());
    assert!(!root.join("checkpoints/.tmp-step_000003").exists());
    assert_eq!(run.load_chunk(2, "b/000001"), Some(json!([1])));
    assert_eq!(run.load_chunk(3, "b/000001"), None);
}

#[test]
fn a_torn_chunk_is_no_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut run = create(&root);
    run.save_chunk(0, "x/000001", &json!([1, 2])).unwrap();
    fs::write(root.join("partial/step_000000/x/000001.json"), "[1, ").unwrap();
    assert_eq!(run.load_chunk(0, "x/000001"), None);
}
