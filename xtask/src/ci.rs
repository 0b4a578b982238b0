//! The checks of a change, cheap ones first.
//!
//! What needs no libtorch is linted before libtorch is fetched and torch-sys is built, which takes minutes. Its tests run
//! with all others: built alone, its dependencies have other features and would be compiled twice.
//! Everything is built in the dev profile into one target folder.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result};

use crate::{
    cargo::{run, run_built, run_with},
    console::{heading, say},
    libtorch::{self, Want},
    own_crate,
    torch_free::TORCH_FREE,
};

/// Formatting, lints, all tests, examples, documentation, a smoke run.
pub(crate) fn ci(root: &Path) -> Result<()> {
    let mut clock = Clock::start();
    run(root, &["fmt", "--all", "--check"])?;
    clock.lap("formatting");

    let packages: Vec<&str> = TORCH_FREE.iter().flat_map(|name| ["-p", name]).collect();
    run(root, &[&["clippy", "--all-targets"], &*packages, &["--", "-D", "warnings"]].concat())?;
    clock.lap("lints without libtorch");

    libtorch::provide(root, Want::Any)?;
    clock.lap("libtorch");
    run(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let bare =
        ["clippy", "-p", "curr-reft", "-p", "reft-cli", "--no-default-features", "--", "-D", "warnings"];
    run(root, &bare)?;
    clock.lap("lints");
    test(root)?;
    clock.lap("tests");
    // One build of all programs, which the tests have mostly done: `cargo run` would select a single package, whose
    // dependencies then have other features, and torch-sys would be built again.
    run(root, &["build", "--workspace", "--bins", "--examples", "--quiet"])?;
    for name in examples(root)? {
        run_built(root, &format!("examples/{name}"), &[])?;
    }
    own_crate::check(root)?;
    clock.lap("examples");
    run_with(root, &["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    clock.lap("documentation");
    smoke(root)?;
    clock.lap("smoke run");
    clock.report();
    Ok(())
}

/// All tests of the workspace, doc tests included.
pub(crate) fn test(root: &Path) -> Result<()> {
    libtorch::provide(root, Want::Any)?;
    run(root, &["test", "--workspace", "--quiet"])
}

/// All phase kinds on the shipped model, in a folder that is gone afterwards.
fn smoke(root: &Path) -> Result<()> {
    let runs = tempfile::tempdir()?;
    let folder = runs.path().to_string_lossy();
    run_built(root, "reft", &["train", "configs/smoke.toml", "--runs", &folder])
}

/// The programs in `examples/` of the root package, by name.
fn examples(root: &Path) -> Result<Vec<String>> {
    let dir = root.join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list `{}`", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Says at the end where the time went.
struct Clock {
    last: Instant,
    laps: Vec<(&'static str, u64)>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    fn lap(&mut self, name: &'static str) {
        self.laps.push((name, self.last.elapsed().as_secs()));
        self.last = Instant::now();
    }

    fn report(&self) {
        heading("all checks passed");
        for (name, seconds) in &self.laps {
            say(&format!("{:>5}:{:02} {name}", seconds / 60, seconds % 60));
        }
    }
}
