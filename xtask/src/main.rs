//! `cargo xtask`: sets up libtorch, runs the demo, the ablation, the soak, the tests and the checks of a change.

mod ablation;
mod cargo;
mod ci;
mod console;
mod demo;
mod gpu;
mod libtorch;
mod own_crate;
mod soak;
mod torch_free;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use libtorch::{Set, Want};

/// Set-up, demo and checks of curr-reft.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", version, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Provide libtorch 2.11.0 and link it into the checkout as `.libtorch`.
    ///
    /// A LIBTORCH that you set wins: it is checked and linked.
    /// Otherwise pinned wheels are fetched through pip, checked against their SHA-256, and unpacked into a per-user
    /// cache that other clones reuse (`$XDG_CACHE_HOME/curr-reft`, `~/.cache/curr-reft`, `~/Library/Caches/curr-reft`).
    /// Linux on x86-64 is tested; macOS on Apple silicon takes the same steps and is untested.
    Libtorch {
        /// Provide the CUDA libraries too (Linux on x86-64, about 3 GB to download).
        #[arg(long)]
        cuda: bool,
        /// Link it into this folder too, as `.libtorch`: that of a crate of yours (`examples/own_crate`).
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Provide libtorch, then run every test of the workspace.
    Test,
    /// Provide libtorch, build in release mode, and run the whole method on the shipped model: minutes on a laptop.
    Demo {
        /// Seed of the run.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The recipe to run.
        #[arg(long, default_value = "configs/demo.toml", value_name = "RECIPE")]
        recipe: PathBuf,
        /// Folder of the run directory.
        #[arg(long, default_value = "runs", value_name = "DIR")]
        runs: PathBuf,
    },
    /// Provide libtorch, build in release mode, and run the paper's ablation on the shipped model: about an hour.
    ///
    /// `cargo xtask ablation --help` lists the options.
    #[command(disable_help_flag = true)]
    Ablation {
        /// Options of the ablation.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        args: Vec<String>,
    },
    /// Provide libtorch, build in release mode, train the shipped model for thousands of steps, and fail when the memory
    /// that the process holds grows.
    Soak {
        /// Steps to train for.
        #[arg(long, default_value_t = 2_000)]
        steps: u64,
        /// Folder of the run directory.
        #[arg(long, default_value = "runs", value_name = "DIR")]
        runs: PathBuf,
        /// A `reft` that is built already.
        #[arg(long, value_name = "FILE")]
        reft: Option<PathBuf>,
    },
    /// Provide libtorch with CUDA, build in release mode, and check everything that wants a GPU in one go: minutes on a card.
    ///
    /// Built on a machine without one (`--build`), it is run there as `target/gpu/reft-gpu`, from the root; with
    /// `-- --device cpu` it rehearses.
    /// `cargo xtask gpu -- --help` lists the options.
    Gpu {
        /// Build, run nothing.
        #[arg(long)]
        build: bool,
        /// Options of the checks.
        #[arg(last = true, value_name = "OPTIONS")]
        args: Vec<String>,
    },
    /// Run all checks of a change, cheap ones first. `.ci/run` calls this.
    Ci,
}

fn main() -> ExitCode {
    let root = cargo::root();
    let result = match Args::parse().command {
        Command::Libtorch { cuda, into } => {
            let want = Want::Only(if cuda { Set::Cuda } else { Set::Cpu });
            let link = || into.map_or(Ok(()), |folder| libtorch::link_into(&root, &folder));
            libtorch::provide(&root, want).and_then(|()| link())
        }
        Command::Test => ci::test(&root),
        Command::Demo { seed, recipe, runs } => demo::demo(&root, &recipe, &runs, seed),
        Command::Ablation { args } => ablation::ablation(&root, &args),
        Command::Soak { steps, runs, reft } => soak::soak(&root, &runs, steps, reft.as_deref()),
        Command::Gpu { build, args } => gpu::gpu(&root, build, &args),
        Command::Ci => ci::ci(&root),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
