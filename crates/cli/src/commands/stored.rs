//! `reft score`, `reft reject`, `reft grade`: stored completions, no model.

use anyhow::{Result, bail};
use curr_reft::{
    eval::Missing,
    grade, reject,
    rejection::{BestOf, stored::Settings},
    score,
};

use crate::{
    args::{GradeArgs, MissingArg, RejectArgs, ScoreArgs},
    output::Output,
};

pub(super) fn grade(args: &GradeArgs, output: Output) -> Result<()> {
    let missing = match args.missing {
        MissingArg::Refuse => Missing::Refuse,
        MissingArg::Wrong => Missing::Wrong,
    };
    let Some(benchmark) = args.benchmark.config() else {
        bail!("name a benchmark with its file: `--benchmark NAME --data FILE`");
    };
    let report = grade::grade(&benchmark, &args.predictions, missing, args.benchmark.against.as_deref())?;
    output.print(&report, || report.to_string())
}

pub(super) fn score(args: &ScoreArgs, output: Output) -> Result<()> {
    let summary = score::score(&args.input, &args.output, args.reward)?;
    output.print(&summary, || {
        let mean = summary.mean.map_or_else(|| "none".to_owned(), |mean| format!("{mean:.4}"));
        let mut lines = vec![format!("{} of {} rows scored, mean {mean}", summary.scored, summary.rows)];
        lines.extend(summary.errors.iter().map(|error| format!("  {error}")));
        if summary.failed > summary.errors.len() {
            lines.push(format!("  ... and {} more", summary.failed - summary.errors.len()));
        }
        lines.join("\n")
    })?;
    if summary.scored == 0 {
        bail!("nothing was scored");
    }
    Ok(())
}

pub(super) fn reject(args: &RejectArgs, output: Output) -> Result<()> {
    let settings =
        Settings { best_of: args.best_of, select: BestOf { threshold: args.threshold, keep: args.keep } };
    let report = reject::reject(&args.file, &args.output, settings)?;
    output.print(&report, || report.to_string())
}
