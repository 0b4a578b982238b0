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
    /// Look at a data set: tasks, forms, image sizes, prompt lengths, duplicates, what of it another file holds too.
    Inspect(DataInspectArgs),
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
    /// Keep the samples that a model answers neither always nor never, by stored pass rates.
    #[command(after_help = "\
Examples:
  reft data select --input train.parquet --difficulty difficulty.jsonl --above 0.05 --below 0.9 --output hard.parquet

ThinkLite-VL keeps the hard ones, unsolved included: --below 0.5.")]
    Select {
        /// The data set that was asked.
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        #[command(flatten)]
        rows: RowArgs,
        /// What `reft data difficulty` wrote.
        #[arg(long, value_name = "FILE")]
        difficulty: PathBuf,
        /// Smallest pass rate to keep, 0 to 1.
        #[arg(long, default_value_t = 0.0, value_name = "RATE")]
        above: f64,
        /// Largest pass rate to keep, 0 to 1.
        #[arg(long, default_value_t = 1.0, value_name = "RATE")]
        below: f64,
        /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Compose scenes from labelled images and write them as a data set.
    Scenes(ScenesArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft data inspect train.jsonl
  reft data inspect fixtures/easy_vqa/test.parquet --task vqa --json
  reft data inspect train.jsonl --decode
  reft data inspect train.parquet --model Qwen2.5-VL-3B-Instruct --max-tokens 2048 --against test.parquet

Without --model, the tokens of images alone are counted, as Qwen2.5-VL resizes them.")]
pub(crate) struct DataInspectArgs {
    /// `.parquet`, `.arrow`, `.jsonl`, `.json` or `.tsv`; the row format is detected.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    /// Hugging Face folder whose tokenizer and image processor count the prompts; no weights are read.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Largest image area in pixels.
    #[arg(long, value_name = "N")]
    pub(crate) max_pixels: Option<u64>,
    /// List prompts that are longer; 0 lists none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) max_tokens: usize,
    /// Decode every image, not only the headers; exit with 1 when one cannot be decoded.
    #[arg(long)]
    pub(crate) decode: bool,
    /// Another file, read in the same way, to look for the same questions and images in.
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft data forms --input train.jsonl --form binary --output train-binary.jsonl
  reft data forms --input train.parquet --form choice --options 4 --output train-choice.parquet

Wrong answers are borrowed from other samples, so that the text alone never gives the answer away.
The same input and seed give the same output.")]
pub(crate) struct FormsArgs {
    /// Open samples: `.parquet`, `.arrow`, `.jsonl`, `.json` or `.tsv`.
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
    /// Folder that image paths start at; that of the file when not given.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
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
        FileData {
            task: task.map(TaskName),
            split: self.split.clone(),
            images: self.images.clone(),
            ..FileData::new(file)
        }
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
