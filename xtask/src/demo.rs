//! The whole method on the shipped model: what a newcomer runs first.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{
    cargo::{command, replace_with, run},
    console::heading,
    libtorch::{self, Want},
};

/// Provides libtorch, builds the binary, and hands the terminal over to `reft train`.
pub(crate) fn demo(root: &Path, recipe: &Path, runs: &Path, seed: u64) -> Result<()> {
    libtorch::provide(root, Want::Any)?;
    run(root, &["build", "--release", "-p", "reft-cli"])?;

    let name = free_name(runs, &format!("demo-seed{seed}"));
    heading(&format!("reft train {} --runs {} --name {name}", recipe.display(), runs.display()));
    let mut reft = command(root, &["run", "--release", "--quiet", "-p", "reft-cli"]);
    reft.args(["--bin", "reft", "--", "train"]).arg(recipe).arg("--runs").arg(runs).args([
        "--name",
        &name,
        "--set",
        &format!("run.seed={seed}"),
    ]);
    replace_with(&mut reft)
}

/// `name`, or `name-2`, `name-3`, ... when that run exists.
pub(crate) fn free_name(runs: &Path, name: &str) -> String {
    let candidates = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned())
        .chain(candidates)
        .find(|name| !PathBuf::from(runs).join(name).exists())
        .unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_demo_does_not_meet_the_first() {
        let runs = tempfile::tempdir().unwrap();
        for expected in ["demo", "demo-2", "demo-3"] {
            let name = free_name(runs.path(), "demo");
            assert_eq!(name, expected);
            std::fs::create_dir(runs.path().join(name)).unwrap();
        }
    }
}
