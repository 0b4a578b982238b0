//! `reft init`.

use std::path::PathBuf;

use clap::Args;
use curr_reft::core::Task;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft init --model Qwen2.5-VL-3B-Instruct --data train.parquet --test test.parquet
  reft init --model fixtures/pico-vlm --data fixtures/benchmarks/geometry.parquet --task math -o geometry.toml

The rows' layout and tasks, the forms that their answers allow, the pictures' sizes, and what of the model fits into this
machine's memory are looked up; everything else is the paper's, with a comment.
Rows without solutions give a recipe of supervised fine-tuning.")]
pub(crate) struct InitArgs {
    /// The model: a Hugging Face folder, or its name on the hub (`ORG/NAME`).
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The file to train on (.parquet, .jsonl, .json, .arrow, .tsv).
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// A file to evaluate on, of other questions.
    #[arg(long, value_name = "FILE")]
    pub(crate) test: Option<PathBuf>,
    /// The task of rows that name none: detection, classify, math or vqa.
    #[arg(long, value_parser = task)]
    pub(crate) task: Option<Task>,
    /// The run's name.
    #[arg(long, default_value = "run")]
    pub(crate) name: String,
    /// Where to write the recipe; must not exist yet.
    #[arg(long, short, default_value = "recipe.toml", value_name = "FILE")]
    pub(crate) output: PathBuf,
}

fn task(text: &str) -> Result<Task, String> {
    let known = Task::ALL.map(Task::as_str);
    Task::ALL
        .into_iter()
        .find(|task| task.as_str() == text)
        .ok_or_else(|| format!("give one of {}", known.join(", ")))
}
