//! The architecture as tests: who may depend on whom, and what every file owes its reader.
//!
//! They live in this package, not in the root's `tests/`, because they must run before libtorch is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crates;
mod docs;
mod sources;
// One list for the checks and for the test that holds them to it.
#[path = "../../src/torch_free.rs"]
mod torch_free;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files below the given folders of the checkout with one of the endings, sorted, relative to the checkout.
fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut found);
    }
    let mut found: Vec<PathBuf> = found
        .iter()
        .filter(|path| path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)))
        .map(|path| path.strip_prefix(&root).unwrap().to_owned())
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with one line per finding.
fn expect_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}
