//! Whole runs through the binary: killed and resumed, and what the demo's first phases learn.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use curr_reft::{
    config::{PhaseConfig, Resolved},
    store::RunReader,
};

/// Phases of the demo that are run.
const PHASES: usize = 2;

fn reft(program: &Path, args: &[&str]) -> Command {
    let mut reft = Command::new(program);
    reft.args(args).stdout(Stdio::null()).stderr(Stdio::piped());
    reft
}

fn finish(mut reft: Command) -> Result<()> {
    let output = reft.output().context("cannot start `reft`")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The smoke recipe whole, and once more, killed in the middle and resumed: the bytes are the same.
pub(crate) fn killed_and_resumed(program: &Path, device: &str, folder: &Path) -> Result<String> {
    let (runs, device) = (folder.to_string_lossy(), format!("model.device={device}"));
    let train = |name: &str| {
        reft(program, &["train", "configs/smoke.toml", "--runs", &runs, "--name", name, "--set", &device])
    };
    let started = Instant::now();
    finish(train("whole"))?;
    let seconds = started.elapsed().as_secs_f64();

    let killed = folder.join("killed");
    let mut child = train("killed").stderr(Stdio::null()).spawn().context("cannot start `reft`")?;
    while !fs::read_to_string(killed.join("metrics.jsonl")).is_ok_and(|text| text.contains("\"choice\"")) {
        if let Some(status) = child.try_wait()? {
            bail!("the run to be killed ended before ({status})");
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    finish(reft(program, &["train", "--resume", &killed.to_string_lossy()]))?;

    let whole = folder.join("whole");
    for part in ["metrics.jsonl", "completions", "rejection", "eval", "final"] {
        let (one, other) = (files(&whole.join(part))?, files(&killed.join(part))?);
        let differ = one.iter().find(|(path, bytes)| other.get(*path) != Some(bytes)).map(|(path, _)| path);
        if differ.is_some() || one.len() != other.len() {
            bail!("`{part}` has other bytes after a kill (whole run {seconds:.0} s): {differ:?}");
        }
    }
    Ok(format!("same bytes; the whole run takes {seconds:.0} s"))
}

/// Files by path below `root`, which may be one itself.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        } else {
            let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            found.insert(path.strip_prefix(root)?.to_owned(), bytes);
        }
    }
    Ok(found)
}

/// The first phases of the demo that learn: reward at their start and end, seconds of a step.
pub(crate) fn first_phases(program: &Path, device: &str, folder: &Path) -> Result<String> {
    let device = format!("model.device={device}");
    let mut recipe = Resolved::read(&["configs/demo.toml".into()], &[device])?.recipe;
    recipe.phase.retain(|phase| matches!(phase, PhaseConfig::Grpo(_)));
    recipe.phase.truncate(PHASES);
    let path = folder.join("first-phases.toml");
    fs::write(&path, recipe.to_toml()?)?;
    let (path, runs) = (path.to_string_lossy(), folder.to_string_lossy());
    finish(reft(program, &["train", &path, "--runs", &runs, "--name", "first-phases"]))?;

    let run = RunReader::open(&folder.join("first-phases"))?;
    let (rows, timings) = (run.metrics()?, run.timings()?);
    let mut words = Vec::new();
    for phase in &recipe.phase {
        let rewards: Vec<f64> = rows
            .iter()
            .filter(|row| row.phase == phase.name())
            .filter_map(|row| row.metrics.get("reward/mean"))
            .collect();
        ensure!(rewards.len() >= 10, "phase `{}` has {} steps", phase.name(), rewards.len());
        let mean = |rewards: &[f64]| rewards.iter().sum::<f64>() / rewards.len() as f64;
        let (first, last) = (mean(&rewards[..5]), mean(&rewards[rewards.len() - 5..]));
        words.push(format!("`{}` reward {first:.2} to {last:.2}", phase.name()));
    }
    let mut steps: Vec<f64> = timings.iter().filter_map(|row| row.metrics.get("time/step_s")).collect();
    steps.sort_by(f64::total_cmp);
    words.push(format!("a step takes {:.2} s (median)", steps[steps.len() / 2]));
    Ok(words.join(", "))
}
