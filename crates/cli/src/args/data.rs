//! `reft data`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use curr_reft::{
    config::{FileData, TaskName},
    core::Task,
};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Turn open questions into yes/no questions or multiple choice.
    Forms(FormsArgs),
    /// Count what a data set holds: tasks, forms, image sizes, duplicates.
    #[command(after_help = "\
Examples:
  reft data inspect train.jsonl
  reft data inspect fixtures/easy_vqa/test.parquet --task vqa --json")]
    Inspect {
        /// `.parquet`, `.arrow` or `.jsonl`; the row format is detected.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        rows: RowArgs,
    },
    /// Count how often stored answers to each sample are right: what the curriculum `adarft` reads.
    #[command(after_help = "\
Examples:
  reft data difficulty --input runs/demo/eval/base/id/predictions.parquet --output difficulty.jsonl

An `eval` phase with `group_size = K` over the training data leaves such a file.")]
    Difficulty {
        /// A row per answer with `sample` and one of `grade`, `reward_accuracy`, `score`: `.parquet` or `.jsonl`.
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Where to write `id`, `answers`, `pass_rate`, `pass_at_k`; `adarft` reads `.jsonl`.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Compose scenes from labelled images and write them as a data set.
    Scenes(ScenesArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft data forms --input train.jsonl --form binary --output train-binary.jsonl
  reft data forms --input train.parquet --form choice --options 4 --output train-choice.parquet

Wrong answers are borrowed from other samples, so that the text alone never gives the answer away.
The same input and seed give the same output.")]
pub(crate) struct FormsArgs {
    /// Open samples: `.parquet`, `.arrow` or `.jsonl`.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    /// The form to make.
    #[arg(long)]
    pub(crate) form: TargetForm,
    /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Options of a multiple choice question, 2 to 5.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=5))]
    pub(crate) options: u8,
    /// Seed of the conversion.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// How the rows of a data file are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct RowArgs {
    /// The task of rows that do not name one.
    #[arg(long)]
    task: Option<TaskArg>,
    /// Only rows whose `split` column equals this.
    #[arg(long)]
    split: Option<String>,
}

/// Tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TaskArg {
    /// Where is it: a box.
    Detection,
    /// Which classes are there: a set of names.
    Classify,
    /// Read and compute: a mathematical answer.
    Math,
    /// A short answer, compared as text.
    Vqa,
}

impl RowArgs {
    /// A data file, read like this.
    pub(crate) fn of(&self, file: &Path) -> FileData {
        let task = self.task.map(|task| match task {
            TaskArg::Detection => Task::Detection,
            TaskArg::Classify => Task::Classification,
            TaskArg::Math => Task::Math,
            TaskArg::Vqa => Task::Vqa,
        });
        FileData { task: task.map(TaskName), split: self.split.clone(), ..FileData::new(file) }
    }
}

/// Forms that open samples can be turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetForm {
    /// Yes/no questions.
    Binary,
    /// Multiple choice.
    Choice,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft data scenes --glyphs fixtures/digits/digits.parquet --split train --count 100 --output scenes.parquet
  reft data scenes --glyphs fixtures/digits/digits.parquet --split test --domain ood --count 20 --output ood.parquet")]
pub(crate) struct ScenesArgs {
    /// Parquet with columns `image`, `label` and `split`.
    #[arg(long, value_name = "FILE")]
    pub(crate) glyphs: PathBuf,
    /// Which split of the glyphs to draw from.
    #[arg(long)]
    pub(crate) split: String,
    /// In-domain or out-of-domain scenes.
    #[arg(long, default_value = "id")]
    pub(crate) domain: Domain,
    /// Scenes to make.
    #[arg(long, value_name = "N")]
    pub(crate) count: usize,
    /// Seed of the scenes.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Which distribution scenes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Domain {
    /// As in training.
    Id,
    /// Different in kind.
    Ood,
}
