//! The paper's ablation on the shipped model: `cargo xtask ablation`, and with `--task hard` where open questions are out
//! of reach at the start.
//!
//! Runs every arm with every seed through `reft train`, reads the run directories, and writes the marked section of
//! `docs/RESULTS.md` with its curves. A command that was stopped continues when it is given again.

mod curves;
#[cfg(test)]
mod fixture;
mod plan;
mod results;
mod runner;
mod section;
mod stats;
mod study;

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;

use plan::Rates;
use runner::{Outcome, Runner};
use study::{Study, Task};

/// The paper's ablation on the shipped model, at equal compute.
///
/// Runs Base, SFT, RL, Curr-RL, Curr-ReFT, Reverse, Mix, binary-only and choice-only with each seed and writes the
/// section of docs/RESULTS.md. `--task hard` asks what is out of reach at the start, runs curricula that decide for
/// themselves too, and first chooses each arm's learning rate by the same search on validation data.
/// Ctrl-C stops after the current step; the same command continues: finished runs are kept, an interrupted one is resumed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask ablation", version)]
struct Args {
    /// What is asked.
    #[arg(long, value_enum, default_value_t)]
    task: Task,
    /// Seeds per arm: 0, 1, ...
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Folder of the run directories; `runs/ablation`, or `runs/hard`, when not given.
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Use this `reft` instead of building one.
    #[arg(long, value_name = "PATH")]
    reft: Option<PathBuf>,
    /// Folder of the recipes.
    #[arg(long, default_value = "configs/ablation", value_name = "DIR")]
    recipes: PathBuf,
    /// A setting laid over every recipe, such as `run.threads=2`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The document whose marked section is written; the curves go into `img` beside it.
    #[arg(long, default_value = "docs/RESULTS.md", value_name = "FILE")]
    output: PathBuf,
    /// Run nothing; write the section from the runs that are finished.
    #[arg(long)]
    report_only: bool,
}

fn main() -> ExitCode {
    match ablation(&Args::parse()) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Stopped) => ExitCode::from(130),
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn ablation(args: &Args) -> Result<Outcome> {
    let study = args.task.study();
    let runs = args.runs.clone().unwrap_or_else(|| Path::new("runs").join(study.name));
    // Before hours of runs, not after them.
    section::replace(&read(&args.output)?, study.name, "")?;
    if !args.report_only {
        let reft = match &args.reft {
            Some(path) => path.clone(),
            None => env::current_exe().context("cannot find this program's own file")?.with_file_name("reft"),
        };
        let recipes = args.recipes.clone();
        let runner = Runner {
            reft,
            recipes,
            over_common: study.over_common,
            runs: runs.clone(),
            set: args.set.clone(),
        };
        if runner.run(&plan::tuning(study))? == Outcome::Stopped {
            return Ok(Outcome::Stopped);
        }
        let tuned = results::rates(study, &runs)?;
        let rates: Rates =
            tuned.iter().filter_map(|tuned| Some((tuned.recipe, tuned.best()?.rate))).collect();
        if runner.run(&plan::jobs(study, args.seeds, &rates))? == Outcome::Stopped {
            return Ok(Outcome::Stopped);
        }
    }
    report(study, &runs, args.seeds, &args.output)?;
    say(&format!("written: {}", args.output.display()));
    Ok(Outcome::Done)
}

/// Writes the section and the curves from the finished runs.
fn report(study: &'static Study, runs: &Path, seeds: u64, output: &Path) -> Result<()> {
    let results = results::read(study, runs, seeds)?;
    let document = section::replace(&read(output)?, study.name, &section::write(&results, "img"))?;

    let images = output.parent().unwrap_or(Path::new("")).join("img");
    fs::create_dir_all(&images).with_context(|| images.display().to_string())?;
    for (file, title) in study.curves {
        let of = |benchmark: &str| *file == format!("{}_{benchmark}.svg", study.name);
        let drawn = match study.benchmarks.iter().find(|(name, _)| of(name)) {
            Some((benchmark, _)) => curves::accuracy(&results, benchmark, title),
            None => curves::reading(&results, title),
        };
        let path = images.join(file);
        let svg = drawn.map_err(|message| anyhow!("`{}` cannot be drawn: {message}", path.display()))?;
        fs::write(&path, svg).with_context(|| path.display().to_string())?;
    }
    fs::write(output, document).with_context(|| output.display().to_string())
}

fn read(document: &Path) -> Result<String> {
    fs::read_to_string(document).with_context(|| document.display().to_string())
}

/// A line on stderr. Losing one is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
