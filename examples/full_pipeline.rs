//! The whole method as a library, without the command line: curriculum RL, rejection sampling, SFT, evaluation.
//!
//!     cargo run --release --example full_pipeline [RECIPE.toml] [RUNS_DIR]
//!
//! The default recipe runs every kind of phase on the small model that ships with the project, in about a minute.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::{Path, PathBuf};

use curr_reft::{
    config::Resolved,
    eval::{EvalReport, summary_table},
    pipeline::{Observer, PhaseInfo, StepReport},
    store::RunReader,
    train,
};

/// Prints a line per phase and per step.
struct Print;

impl Observer for Print {
    fn phase_started(&mut self, phase: &PhaseInfo<'_>) {
        println!("{} ({}, {} steps)", phase.name, phase.kind, phase.total);
    }

    fn step_done(&mut self, step: &StepReport<'_>) {
        if let Some(reward) = step.metrics.get("reward/mean") {
            println!("  step {:>3}  reward {reward:.3}", step.step);
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let recipe = PathBuf::from(args.next().unwrap_or_else(|| "configs/smoke.toml".into()));
    let runs = PathBuf::from(args.next().unwrap_or_else(|| "runs".into()));

    // A run directory belongs to one run; a name of its own keeps this example repeatable.
    let name = format!("run.name=full-pipeline-{}", std::process::id());
    let resolved = Resolved::read(&[recipe], &[name])?;
    resolved.check_files(Path::new("."))?;
    let outcome = train::start(&resolved.recipe, &runs, &mut Print)?;
    println!("{outcome:?}");

    let run = RunReader::open(&runs.join(&resolved.recipe.run.name))?;
    let mut phases: Vec<(String, Vec<EvalReport>)> = Vec::new();
    for stored in run.reports()? {
        let report = serde_json::from_value(stored.report)?;
        match phases.iter_mut().find(|(phase, _)| *phase == stored.phase) {
            Some((_, reports)) => reports.push(report),
            None => phases.push((stored.phase, vec![report])),
        }
    }
    print!("{}", summary_table(&phases));
    Ok(())
}
