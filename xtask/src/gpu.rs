//! The checks of a GPU: builds the programs, here or on a machine without a card, and hands the terminal over.
//!
//! The work is done by `xtask/gpu`, a program of its own because it links libtorch.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    cargo::{command, library_path, replace_with, run},
    console::{heading, say},
    libtorch::{self, Set, Want},
};

/// Where the programs are when they are built.
const FOLDER: &str = "target/gpu";
const PROGRAM: &str = "reft-gpu";

/// Builds the programs into one folder and runs the checks, unless `only_build`. A rehearsal leaves libtorch as it is.
pub(crate) fn gpu(root: &Path, only_build: bool, args: &[String]) -> Result<()> {
    let rehearses = args.iter().any(|arg| arg == "cpu" || arg == "--device=cpu");
    libtorch::provide(root, if rehearses { Want::Any } else { Want::Only(Set::Cuda) })?;
    build(root)?;
    if only_build {
        say(&format!(
            "built into `{FOLDER}`; on the machine with the card, from the root: `{FOLDER}/{PROGRAM}`"
        ));
        return Ok(());
    }
    let (variable, libraries) = library_path(root);
    let mut checks = std::process::Command::new(root.join(FOLDER).join(PROGRAM));
    replace_with(checks.args(args).current_dir(root).env(variable, libraries))
}

fn build(root: &Path) -> Result<()> {
    run(root, &["build", "--release", "-p", "reft-cli", "-p", PROGRAM])?;
    let bench = bench(root)?;
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let release = root.join("target/release");
    let programs =
        [(release.join("reft"), "reft"), (release.join(PROGRAM), PROGRAM), (bench, "reft-bench-cuda")];
    for (from, name) in programs {
        let to = folder.join(name);
        fs::copy(&from, &to)
            .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))?;
    }
    Ok(())
}

/// Builds the bench `cuda` and returns where cargo has put it, under a name that only cargo knows.
fn bench(root: &Path) -> Result<PathBuf> {
    let args = ["bench", "--bench", "cuda", "--no-run", "--message-format=json-render-diagnostics"];
    heading(&format!("cargo {}", args.join(" ")));
    let output = command(root, &args).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the bench `cuda` does not build ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let of_bench = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_bench = message["target"]["name"] == "cuda" && message["reason"] == "compiler-artifact";
        message["executable"].as_str().filter(|_| is_bench).map(PathBuf::from)
    };
    text.lines().find_map(of_bench).context("cargo does not say where the bench `cuda` is")
}
