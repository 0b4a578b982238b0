//! Everything that wants a GPU once, in a few minutes: `cargo xtask gpu`. A check that fails does not stop the others; one
//! table stands at the end. With `--device cpu` it rehearses all that needs no card.

mod checks;
mod families;
mod runs;
mod shape;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use curr_reft::{dist::try_nccl, doctor::diagnose};
use reft_allocator as _;
use tch::Cuda;

use checks::{Checks, say};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask gpu", version)]
struct Args {
    /// `cpu` rehearses: all checks that need no card, on the CPU.
    #[arg(long, default_value = "cuda")]
    device: DeviceArg,
    /// A built `reft` [default: beside this program].
    #[arg(long, value_name = "FILE")]
    reft: Option<PathBuf>,
    /// The built bench `cuda` [default: `reft-bench-cuda` beside this program].
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
    /// A Python with torch and transformers, for the peer beside the 3B shape.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Write the table to this file too.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DeviceArg {
    Cuda,
    Cpu,
}

impl DeviceArg {
    fn device(self) -> tch::Device {
        match self {
            Self::Cuda => tch::Device::Cuda(0),
            Self::Cpu => tch::Device::Cpu,
        }
    }

    /// As a recipe names it.
    fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }
}

fn main() -> ExitCode {
    match check(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn check(args: &Args) -> Result<bool> {
    let own = env::current_exe().context("cannot find this program's own file")?;
    let beside =
        |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| own.with_file_name(name));
    let (reft, bench) = (beside(&args.reft, "reft"), beside(&args.bench, "reft-bench-cuda"));
    let mut checks = Checks::default();
    let found = diagnose();
    say(&found.to_string());
    if args.device == DeviceArg::Cuda && !Cuda::is_available() {
        bail!("there is no GPU that libtorch can use: {}; `--device cpu` rehearses", found.cuda_library);
    }
    checks.run("doctor", || {
        if !found.golden_ok {
            bail!("the golden forward pass differs by {:.1e}", found.golden_difference);
        }
        Ok(format!("{}; NCCL {}", shape::card().unwrap_or_else(|| "no card".into()), found.nccl))
    });
    for family in families::ALL {
        for kind in [tch::Kind::Float, tch::Kind::BFloat16] {
            let name = format!("{family}, {kind:?}");
            checks.run(&name, || families::check(family, kind, args.device.device()));
        }
    }
    for gpu in 0..Cuda::device_count().max(0) as usize {
        checks.run(&format!("NCCL alone on GPU {gpu}"), || {
            try_nccl(gpu)?;
            Ok("every operation gives back what it gets".into())
        });
    }
    let folder = tempfile::tempdir()?;
    checks.run("smoke recipe, killed and resumed", || {
        runs::killed_and_resumed(&reft, args.device.name(), folder.path())
    });
    checks.run("demo, its first two phases", || runs::first_phases(&reft, args.device.name(), folder.path()));
    if args.device == DeviceArg::Cuda {
        checks.run("3B shape", || shape::bench(&bench));
        if let Some(python) = &args.python {
            checks.run("3B shape, transformers", || shape::peer(python));
        }
    }
    let table = checks.table();
    say(&format!("\n{table}"));
    if let Some(path) = &args.table {
        std::fs::write(path, &table).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(checks.all_well())
}
