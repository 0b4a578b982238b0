//! Thousands of steps, and whether the process holds more memory at their end than when it was warm.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    cargo::{run, run_file},
    console::{heading, say},
    demo::free_name,
    libtorch::{self, Want},
};

/// By this share memory may grow from the second tenth of the steps, when all caches are warm, to the last.
const FLAT: f64 = 0.02;

/// Trains by `configs/soak.toml` and judges the memory that its steps recorded.
pub(crate) fn soak(root: &Path, runs: &Path, steps: u64, reft: Option<&Path>) -> Result<()> {
    let reft = if let Some(reft) = reft {
        reft.to_owned()
    } else {
        libtorch::provide(root, Want::Any)?;
        run(root, &["build", "--release", "-p", "reft-cli"])?;
        PathBuf::from("target/release/reft")
    };
    let name = free_name(runs, "soak");
    let (folder, steps) = (runs.to_string_lossy(), format!("phase.open.steps={steps}"));
    let args = ["train", "configs/soak.toml", "--runs", &folder, "--name", &name, "--set", &steps];
    heading(&format!("{} {}", reft.display(), args.join(" ")));
    run_file(root, &root.join(reft), &args)?;
    let resident = resident(&root.join(runs).join(name).join("timings.jsonl"))?;
    let [warm, last] = warm_and_last(&resident)?;
    let growth = last / warm - 1.0;
    say(&format!(
        "{} steps: {warm:.1} MiB when warm, {last:.1} MiB at the end ({:+.2} %), {:.1} MiB at most",
        resident.len(),
        100.0 * growth,
        resident.iter().copied().fold(0.0, f64::max),
    ));
    if growth > FLAT {
        bail!("memory grew by more than {} %", 100.0 * FLAT);
    }
    Ok(())
}

/// `memory/resident_mib` of every step.
fn resident(timings: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(timings).with_context(|| format!("cannot read `{}`", timings.display()))?;
    let of_line = |line: &str| {
        let row: Value = serde_json::from_str(line).ok()?;
        row["memory/resident_mib"].as_f64()
    };
    let numbers = text.lines().enumerate().map(|(i, line)| {
        of_line(line)
            .with_context(|| format!("`{}`, line {}: no `memory/resident_mib`", timings.display(), i + 1))
    });
    numbers.collect()
}

/// Means of the second and of the last tenth.
fn warm_and_last(resident: &[f64]) -> Result<[f64; 2]> {
    let tenth = resident.len() / 10;
    if tenth < 2 {
        bail!("{} steps are too few to judge; 20 are the least", resident.len());
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    Ok([mean(&resident[tenth..2 * tenth]), mean(&resident[resident.len() - tenth..])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_seen_and_warming_up_is_not() {
        let flat: Vec<f64> = (0..100).map(|step| 500.0 - 300.0 * f64::from(-step).exp()).collect();
        let leaking: Vec<f64> = flat.iter().zip(0..).map(|(mib, step)| mib + 0.2 * f64::from(step)).collect();
        let growth = |resident: &[f64]| {
            let [warm, last] = warm_and_last(resident).unwrap();
            last / warm - 1.0
        };
        assert!(growth(&flat) < FLAT && growth(&leaking) > FLAT, "{} {}", growth(&flat), growth(&leaking));
        assert!(warm_and_last(&flat[..19]).is_err());
    }

    #[test]
    fn rows_without_memory_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("timings.jsonl");
        fs::write(&file, "{\"memory/resident_mib\": 3.5}\n{\"step\": 2}\n").unwrap();
        assert!(resident(&file).unwrap_err().to_string().contains("line 2"));
    }
}
