//! What can be typed: one struct per command, documented as the help that users read.
//!
//! Nothing here computes. The doc comments are the reference of the command line.

mod benchmark;
mod config;
mod data;
mod init;
mod model;
#[cfg(feature = "hub")]
mod push;
mod run;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod stored;

use clap::{Args, Parser, Subcommand};

pub(crate) use benchmark::BenchmarkArgs;
pub(crate) use config::{ConfigCommand, RecipeFiles};
pub(crate) use data::{DataCommand, DataInspectArgs, Domain, FormsArgs, RowArgs, ScenesArgs, TargetForm};
pub(crate) use init::InitArgs;
pub(crate) use model::{
    AnswererArgs, ComputeArgs, DeviceArg, DoctorArgs, DtypeArg, EvalArgs, GenerateArgs, LogprobsArgs,
    MergeArgs, ModelArgs, SamplingArgs,
};
#[cfg(feature = "hub")]
pub(crate) use push::PushArgs;
pub(crate) use run::{CompareArgs, InspectArgs, ReplayArgs, ReportArgs, TrainArgs};
#[cfg(feature = "serve")]
pub(crate) use serve::ServeArgs;
pub(crate) use shell::{CompletionsArgs, ManArgs};
pub(crate) use stored::{GradeArgs, MissingArg, RejectArgs, ScoreArgs};

/// Curriculum reinforcement finetuning of small vision-language models.
///
/// A recipe (TOML) names a Hugging Face checkpoint, data sets and phases.
/// `reft train` runs the phases and leaves a Hugging Face checkpoint, metrics, every completion, and a report.
#[derive(Debug, Parser)]
#[command(
    name = "reft",
    version,
    propagate_version = true,
    after_long_help = "\
Examples:
  reft init --model DIR --data train.parquet         write a recipe for a model and a file
  reft train configs/demo.toml                       run a recipe
  reft train configs/demo.toml --set grpo.lr=1e-6    with a setting changed in all GRPO phases
  reft train --resume runs/demo                      continue after a stop, a crash or a kill
  reft inspect runs/demo                             tables of a run
  reft config check my.toml                          all problems of a recipe at once
  reft doctor                                        is everything there that training needs?
  reft doctor --model DIR                            what is this checkpoint, what does it need?

Results go to stdout, progress and messages to stderr.
Exit codes: 0 done, 1 failed, 2 bad usage or recipe."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// Options of every command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Print results as JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no remarks on stderr; errors are still printed.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a first recipe for a model and a data file.
    Init(InitArgs),
    /// Run the phases of a recipe, or continue a run.
    Train(TrainArgs),
    /// Sample completions for a file of chats.
    Generate(GenerateArgs),
    /// Compute log-probabilities of given completions.
    Logprobs(LogprobsArgs),
    /// Run benchmarks on a checkpoint.
    Eval(Box<EvalArgs>),
    /// Answer requests over HTTP as OpenAI's API has them.
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Merge a LoRA adapter into its base model.
    Merge(MergeArgs),
    /// Grade stored predictions; needs no model.
    Grade(GradeArgs),
    /// Score stored completions with a reward; needs no model.
    Score(ScoreArgs),
    /// Judge stored completions and keep the best as an SFT set; needs no model.
    Reject(RejectArgs),
    /// Look at data sets, convert them, make scenes.
    #[command(subcommand)]
    Data(DataCommand),
    /// Show a run as tables.
    Inspect(InspectArgs),
    /// Compare two runs question by question, and say what their recipes have different.
    Compare(CompareArgs),
    /// Compute a batch again whose loss or gradient was not finite, and say where it becomes so.
    Replay(ReplayArgs),
    /// Write a run's report as one HTML file with curves and completions.
    Report(ReportArgs),
    /// Push the model of a finished run to the Hugging Face hub, with a model card.
    #[cfg(feature = "hub")]
    Push(PushArgs),
    /// Check, resolve and document recipes.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what was found of libtorch, CUDA and memory, and run a golden forward pass; or what a checkpoint is.
    Doctor(DoctorArgs),
    /// Print a script that completes commands and options in a shell.
    Completions(CompletionsArgs),
    /// Write man pages.
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_help() {
        fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            if command.get_about().is_none() {
                missing.push(path.to_owned());
            }
            for arg in command.get_arguments().filter(|arg| arg.get_help().is_none()) {
                missing.push(format!("{path} {}", arg.get_id()));
            }
            for sub in command.get_subcommands() {
                walk(sub, &format!("{path} {}", sub.get_name()), missing);
            }
        }
        let mut missing = Vec::new();
        walk(&Cli::command(), "reft", &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn examples_in_the_help_parse() {
        fn walk(command: &clap::Command, lines: &mut Vec<String>) {
            for help in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
                let help = help.to_string();
                let examples = help.lines().filter_map(|line| line.strip_prefix("  reft "));
                // A remark follows the command after several blanks.
                lines.extend(
                    examples.map(|line| line.split("   ").next().unwrap_or_default().trim().to_owned()),
                );
            }
            for sub in command.get_subcommands() {
                walk(sub, lines);
            }
        }
        let mut lines = Vec::new();
        walk(&Cli::command(), &mut lines);
        assert!(lines.len() > 15, "{lines:?}");
        for line in lines {
            let words = line.split_whitespace().map(|word| word.trim_matches('\''));
            let parsed = Cli::try_parse_from(std::iter::once("reft").chain(words));
            assert!(parsed.is_ok(), "reft {line}\n{}", parsed.unwrap_err());
        }
    }
}
