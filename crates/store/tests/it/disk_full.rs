//! A full disk while saving: the earlier checkpoint stays good, the message says which file and what to do.
//!
//! Two real mechanisms, neither of which needs privileges or can be bypassed by root: `/dev/full`, whose every write fails
//! with ENOSPC, and a file size limit on a child process.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use reft_core::{Checkpointed, RunStore as _, StageError};
use reft_store::RunDir;
use serde_json::json;

use crate::support::{Blob, create, cursor, step_and_save};

/// A part that has written some of its files when the disk is full.
struct OnFullDisk;

impl Checkpointed for OnFullDisk {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        fs::write(dir.join("first.bin"), [1; 1000]).unwrap();
        let written = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .and_then(|mut full| full.write_all(&[1; 1000]));
        written.map_err(|error| StageError::file(dir.join("second.bin"), error))
    }

    fn load(&mut self, _dir: &Path) -> Result<(), StageError> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_space_for_a_checkpoint_leaves_the_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut run = create(&root);
    step_and_save(&mut run, cursor(0, 1, 1));

    let error = run.checkpoint(cursor(0, 2, 2), &[("policy", &OnFullDisk)], &json!({})).unwrap_err();
    let message = error.to_string();
    for part in [
        "checkpoint `step_000002` was not saved",
        "second.bin",
        "No space left on device",
        "step_000001`, is untouched",
        "resume the run",
    ] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    let left = fs::read_dir(root.join("checkpoints")).unwrap().count();
    assert_eq!(left, 2, "half a checkpoint takes space: only LATEST and step_000001 should be there");
    drop(run);
    let found = RunDir::open(&root).unwrap().resume().unwrap().unwrap();
    assert_eq!(found.cursor, cursor(0, 1, 1));
}

const DIR: &str = "REFT_SMALL_DISK_RUN_DIR";

/// In the child process: a checkpoint with a megabyte. By itself: the same without a limit.
#[test]
fn save_a_megabyte() {
    let big = Blob { byte: 7, len: 1 << 20 };
    let save = |root: &Path| {
        let mut run = RunDir::open(root).unwrap();
        run.resume().unwrap();
        run.checkpoint(cursor(0, 2, 2), &[("policy", &big)], &json!({}))
    };
    if let Some(root) = env::var_os(DIR) {
        if let Err(error) = save(&PathBuf::from(root)) {
            panic!("{error}");
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    step_and_save(&mut create(&root), cursor(0, 1, 1));
    save(&root).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_grow_leaves_the_earlier_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    step_and_save(&mut create(&root), cursor(0, 1, 1));

    // Without the trap the signal would end the process; with it the write fails, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" disk_full::save_a_megabyte --exact --nocapture";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .env(DIR, &root)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{message}");
    for part in ["checkpoint `step_000002` was not saved", "blob.bin", "step_000001`, is untouched"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }

    let mut run = RunDir::open(&root).unwrap();
    assert_eq!(run.resume().unwrap().unwrap().cursor, cursor(0, 1, 1));
    assert_eq!(fs::read_dir(root.join("checkpoints")).unwrap().count(), 2);
}
