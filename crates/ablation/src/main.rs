//! The paper's ablation on the shipped model: `cargo xtask ablation`.
//!
//! Runs every arm with every seed through `reft train`, reads the run directories, and writes the marked section of
//! `docs/RESULTS.md` with its curves. A command that was stopped continues when it is given again.

mod plan;
mod runner;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;

use runner::{Outcome, Runner};

/// The paper's ablation on the shipped model, at equal compute.
///
/// Runs Base, SFT, RL, Curr-RL, Curr-ReFT, Reverse, Mix, binary-only and choice-only with each seed and writes the
/// section of docs/RESULTS.md.
/// Ctrl-C stops after the current step; the same command continues: finished runs are kept, an interrupted one is resumed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask ablation", version)]
struct Args {
    /// Seeds per arm: 0, 1, ...
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Folder of the run directories.
    #[arg(long, default_value = "runs/ablation", value_name = "DIR")]
    runs: PathBuf,
    /// Use this `reft` instead of building one.
    #[arg(long, value_name = "PATH")]
    reft: Option<PathBuf>,
    /// Folder of the recipes.
    #[arg(long, default_value = "configs/ablation", value_name = "DIR")]
    recipes: PathBuf,
    /// A setting laid over every recipe, such as `run.threads=2`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
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
    let reft = match &args.reft {
        Some(path) => path.clone(),
        None => {
            std::env::current_exe().context("cannot find this program's own file")?.with_file_name("reft")
        }
    };
    let runner =
        Runner { reft, recipes: args.recipes.clone(), runs: args.runs.clone(), set: args.set.clone() };
    runner.run(&plan::jobs(args.seeds))
}

/// A line on stderr. Losing one is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
