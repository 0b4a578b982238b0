//! Commands about runs: `train`, `inspect`, `report`.

use std::path::PathBuf;

use clap::Args;

use crate::pictures::Pictures;

/// A recipe as files and overrides.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecipeArgs {
    /// Recipe files (TOML); later ones override earlier ones.
    #[arg(required_unless_present_any = ["resume", "from"], value_name = "RECIPE.toml")]
    pub(crate) recipes: Vec<PathBuf>,
    /// Change a setting: `run.seed=3`, `grpo.lr=1e-6` (all phases of that kind), `phase.NAME.steps=5` (one phase).
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft train configs/demo.toml
  reft train configs/demo.toml my-changes.toml --name second --set run.seed=7
  reft train configs/demo.toml --set phase.binary.steps=5 --dry-run
  reft train --resume runs/second
  reft train --resume runs/second --set phase.open.steps=400
  reft train --from runs/second --after binary --set phase.choice.lr=2e-6 --name third
  torchrun --standalone --nproc-per-node 2 --no-python reft train configs/demo.toml

Ctrl-C stops after the current step and keeps it; a second Ctrl-C stops at once.
Either way, and after a crash, `--resume` continues with the same numbers as an uninterrupted run.

Started by torchrun or srun, all processes work on one run: see docs/CLUSTER.md.")]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// Name of the run's folder; overrides `run.name` of the recipe.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Folder that holds run directories.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub(crate) runs: PathBuf,
    /// Continue this run with the recipe it was started with. `--set` changes phases that have not begun, the steps of the
    /// one under way, and how often checkpoints are saved; what was changed is noted.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipes", "name"])]
    pub(crate) resume: Option<PathBuf>,
    /// Start a new run with the recipe of this one, behind its phase `--after`, from the model as it was there. Recipes and
    /// `--set` change what comes. Runs with `run.keep_phases = true` keep that model for every phase.
    #[arg(long, value_name = "RUN", requires = "after", conflicts_with = "resume")]
    pub(crate) from: Option<PathBuf>,
    /// The phase behind which `--from` starts.
    #[arg(long, value_name = "PHASE", requires = "from")]
    pub(crate) after: Option<String>,
    /// Go on although the model or data have changed since the run started, after a repair, say; it is noted.
    #[arg(long, requires = "resume")]
    pub(crate) accept_inputs: bool,
    /// Check the recipe and its files, print it with every default written out, and stop.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft compare runs/first runs/second
  reft compare runs/first runs/second --phase after-binary --json

Questions that both have right or both have wrong say nothing about a difference, so a paired comparison sees differences
that two overlapping intervals hide. The p-value is exact (McNemar, a sign test on the questions in which they differ).")]
pub(crate) struct CompareArgs {
    /// The first run directory.
    #[arg(value_name = "A")]
    pub(crate) first: PathBuf,
    /// The second run directory.
    #[arg(value_name = "B")]
    pub(crate) second: PathBuf,
    /// The evaluation phase; the last of each run when not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) phase: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft inspect runs/demo
  reft inspect runs/demo --json
  reft inspect runs/demo --follow
  reft inspect runs/demo --phase open --step 20")]
pub(crate) struct InspectArgs {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Show the questions of a step with all their answers, and what each earned.
    #[arg(long, value_name = "N")]
    pub(crate) step: Option<u64>,
    /// Print a line for each step as it is done, until the run is over.
    #[arg(long, conflicts_with = "step")]
    pub(crate) follow: bool,
    /// The phase of the step; the one that recorded answers last when not given.
    #[arg(long, value_name = "NAME", requires = "step")]
    pub(crate) phase: Option<String>,
    /// Whether the pictures of a step are drawn in the terminal.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", requires = "step")]
    pub(crate) pictures: Pictures,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft report runs/demo
  reft report runs/demo --watch                                   renew it while the run goes on
  reft report runs/first runs/second --output both.html           beside each other, with paired differences
  reft report runs/demo --curves docs/img --completions 8

The page is one file that needs no network: results, curves, the questions of some steps with all their answers, the
pictures with right and answered boxes, questions before and after, recipe, data and machine.")]
pub(crate) struct ReportArgs {
    /// The run directories.
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// The file to write; `report.html` in the first run's directory by default.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the curves of the first run as SVG files into this folder, too.
    #[arg(long, value_name = "DIR")]
    pub(crate) curves: Option<PathBuf>,
    /// Questions to show of each step that is shown, with all their answers.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub(crate) completions: usize,
    /// Write it anew every so many seconds until the run is over; the page loads itself again.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "20",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) watch: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft replay runs/demo/non_finite/open/step_000042
  reft replay runs/demo/non_finite/open/step_000042 --model runs/demo/checkpoints/step_000040/policy

Each group is computed alone, from its inputs to its gradient, and the first tensor that is not finite is named.")]
pub(crate) struct ReplayArgs {
    /// The folder of the batch, `RUN/non_finite/PHASE/step_N`.
    #[arg(value_name = "BATCH")]
    pub(crate) batch: PathBuf,
    /// Weights to compute it with instead of those that were kept with it.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
}
