//! `reft train`, `reft inspect`, `reft compare`, `reft report`.

use std::{env, fmt::Write as _, path::Path, thread, time::Duration};

use anyhow::{Result, bail};
use curr_reft::{
    branch::after,
    compare::compare as compare_runs,
    config::{Recipe, Resolved},
    dist::World,
    examples,
    inspect::inspect as look_at,
    pipeline::Outcome,
    replay::replay as replay_batch,
    report::{ReportSettings, report as write_report},
    step::answers_of_step,
    train::{self as training, ChangedInputs, Resume},
};
use serde_json::json;

use crate::{
    Customize,
    args::{CompareArgs, GlobalArgs, InspectArgs, ReplayArgs, ReportArgs, TrainArgs},
    follow::follow,
    interrupt::Interrupt,
    output::{Output, print},
    panics::working_on,
    pictures::draw,
    program,
    progress::Watch,
};

/// Questions to show at the end of a run, as they were answered before and after.
const EXAMPLES: usize = 3;

pub(super) fn train(
    args: TrainArgs,
    global: GlobalArgs,
    output: Output,
    customize: &mut Customize<'_>,
) -> Result<()> {
    if let Some(run) = &args.resume {
        let mut watch = Watch::new(Interrupt::listen()?, global.quiet || rank()? > 0);
        working_on(run);
        let inputs = if args.accept_inputs { ChangedInputs::Accept } else { ChangedInputs::Refuse };
        let how = Resume { inputs, set: args.recipe.set.clone() };
        let outcome = training::resume_with(run, &how, &mut watch, customize);
        watch.clear();
        return finish(outcome?, run, output);
    }

    let recipe = recipe(&args)?;
    if args.dry_run {
        return print(&recipe.to_toml()?);
    }
    let mut watch = Watch::new(Interrupt::listen()?, global.quiet || rank()? > 0);
    let run = args.runs.join(&recipe.run.name);
    working_on(&run);
    let outcome = training::start_with(&recipe, &args.runs, &mut watch, customize);
    watch.clear();
    finish(outcome?, &run, output)
}

/// The recipe as it will run, checked together with its files.
fn recipe(args: &TrainArgs) -> Result<Recipe> {
    let mut overrides = args.recipe.set.clone();
    if let Some(name) = &args.name {
        // Quoted, so that a run named `3` is not taken for a number.
        overrides.push(format!("run.name={}", json!(name)));
    }
    if let (Some(run), Some(phase)) = (&args.from, &args.after) {
        return Ok(after(run, phase, &args.recipe.recipes, &overrides)?);
    }
    let resolved = Resolved::read(&args.recipe.recipes, &overrides)?;
    resolved.check_files(&env::current_dir()?)?;
    Ok(resolved.recipe)
}

/// Which rank this process is: the first alone shows what the run does.
fn rank() -> Result<usize> {
    Ok(World::from_env()?.rank)
}

fn finish(outcome: Outcome, run: &Path, output: Output) -> Result<()> {
    match outcome {
        Outcome::Finished { .. } if rank()? > 0 => Ok(()),
        Outcome::Interrupted { .. } if rank()? > 0 => {
            bail!("interrupted with all ranks; rank 0 says where it stands")
        }
        Outcome::Finished { .. } => {
            let inspection = look_at(run)?;
            let text = || -> Result<String> {
                let mut text = format!("\n{inspection}");
                for example in examples::compare(run, EXAMPLES)? {
                    write!(text, "\n{example}")?;
                    if let Some(file) = example.file(run)? {
                        writeln!(text, "  image   {}", file.display())?;
                    }
                }
                write!(text, "{}{}", report_of(run), next_steps(run))?;
                Ok(text)
            }()?;
            output.print(&inspection, || text)
        }
        Outcome::Interrupted { phase, step, checkpoint } => {
            let kept = match checkpoint {
                Some(checkpoint) => format!("kept in {}", checkpoint.display()),
                None => "nothing was trained yet".to_owned(),
            };
            bail!(
                "interrupted in phase `{phase}` after step {step}, {kept}; continue with `{} train --resume {}`",
                program(),
                run.display()
            )
        }
    }
}

/// Writes the report of a finished run. A run is not lost for one.
fn report_of(run: &Path) -> String {
    match write_report(&[run.to_owned()], &ReportSettings::default()) {
        Ok(written) => format!(
            "\nreport      {}\n            curves, tables and completions as one file: open it in a browser\n",
            written.report.display()
        ),
        Err(error) => format!("\nnote: the report could not be written: {error}\n"),
    }
}

fn next_steps(run: &Path) -> String {
    let run = run.display();
    format!(
        "\nWhat next:\n  \
         reft generate --model {run}/final ...   ask the new model; any Hugging Face tool loads it\n  \
         reft train RECIPE.toml --set run.seed=1 --name NAME      the same with another seed\n"
    )
}

pub(super) fn inspect(args: &InspectArgs, output: Output) -> Result<()> {
    if args.follow {
        return follow(&args.run, &Interrupt::listen()?);
    }
    if let Some(step) = args.step {
        let answers = answers_of_step(&args.run, args.phase.as_deref(), step)?;
        if output.is_json() || !args.pictures.are_drawn() {
            return output.print(&answers, || answers.to_string());
        }
        print(&answers.head())?;
        for group in &answers.groups {
            print("")?;
            group.file.as_deref().map_or(Ok(()), draw)?;
            print(&group.to_string())?;
        }
        return Ok(());
    }
    let inspection = look_at(&args.run)?;
    output.print(&inspection, || inspection.to_string())
}

pub(super) fn compare(args: &CompareArgs, output: Output) -> Result<()> {
    let compared = compare_runs(&args.first, &args.second, args.phase.as_deref())?;
    output.print(&compared, || compared.to_string())
}

pub(super) fn replay(args: &ReplayArgs, output: Output) -> Result<()> {
    let replay = replay_batch(&args.batch, args.model.as_deref())?;
    output.print(&replay, || replay.to_string())
}

pub(super) fn report(args: &ReportArgs, output: Output) -> Result<()> {
    let settings = ReportSettings {
        output: args.output.clone(),
        curves: args.curves.clone(),
        completions: args.completions,
        watch: args.watch,
    };
    let written = write_report(&args.runs, &settings)?;
    output.print(&written, || {
        let files = std::iter::once(&written.report).chain(&written.curves);
        let damaged = written.damaged.iter().map(|what| format!("left out: {what}"));
        files.map(|path| path.display().to_string()).chain(damaged).collect::<Vec<_>>().join("\n")
    })?;
    let Some(seconds) = args.watch.filter(|_| !written.is_finished) else { return Ok(()) };
    let interrupt = Interrupt::listen()?;
    loop {
        // In small pieces, so that Ctrl-C is heard.
        for _ in 0..5 * seconds {
            if interrupt.asked() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        if write_report(&args.runs, &settings)?.is_finished {
            return Ok(());
        }
    }
}
