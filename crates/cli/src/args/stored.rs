//! Commands on stored completions, which need no model: `grade`, `score`, `reject`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use curr_reft::reward::RewardName;

use super::BenchmarkArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft grade --benchmark mathvista --data testmini.parquet --predictions answers.jsonl
  reft grade --benchmark mmbench --data MMBench_DEV_EN.tsv --predictions answers.jsonl --missing wrong
  reft grade --benchmark mmvet --data MMVet.tsv --predictions answers.jsonl --judge https://api.openai.com/v1 --judge-model gpt-4o
  reft grade --benchmark generic --data fixtures/easy_vqa/test.parquet --task vqa --predictions predictions.jsonl

A prediction row: {\"id\", \"completion\"}; the id is the question's. A judge's replies are kept on disk: a rerun is free.")]
pub(crate) struct GradeArgs {
    #[command(flatten)]
    pub(crate) benchmark: BenchmarkArgs,
    /// What becomes of questions without a prediction.
    #[arg(long, value_enum, default_value_t = MissingArg::Refuse)]
    pub(crate) missing: MissingArg,
    /// Stored predictions: `.parquet` or `.jsonl`.
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: PathBuf,
}

/// What becomes of questions without a prediction.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MissingArg {
    /// Nothing is graded.
    Refuse,
    /// They count as wrong.
    Wrong,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft score --reward math_equal --input answers.jsonl --output scored.jsonl
  reft score --reward paper --input answers.jsonl --output scored.jsonl
  reft score --reward r1v.accuracy_reward --input answers.jsonl --output scored.jsonl

A row: {\"completion\", \"solution\"}, optionally \"task\" (detection, classify, math, vqa),
\"form\" (binary, choice, open), \"finish_reason\" (stop, length) and \"kwargs\": \"image_size\" [width, height],
\"box_frame\" of the solution, \"reward\" with settings as under [phase.reward] of a recipe,
\"image_grid_thw\" for vlm_r1.qwen.iou_reward. math_equal also takes bare answers without tags.
The output has each row with \"score\"; where none can be computed it is null and \"error\" says why.")]
pub(crate) struct ScoreArgs {
    /// The reward: paper, accuracy, format, yes_no, letters, class_iou, box_iou, box_threshold, math_equal, text_equal,
    /// or another project's as it behaves (r1v.*, visual_rft.*, vlm_r1.*, curr_reft.*, easyr1.*); a wrong name lists all.
    #[arg(long, value_name = "NAME")]
    pub(crate) reward: RewardName,
    /// Completions with solutions: `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft reject answers.jsonl --best-of 8 --output sft.jsonl
  reft reject answers.jsonl --best-of 8 --threshold 90 --keep 2 --output sft.jsonl

A row: a chat as `reft generate` writes it (\"messages\", \"completions\") with a \"solution\", optionally \"task\"
and \"form\". The output has one chat per kept answer, ready for an `sft` phase.")]
pub(crate) struct RejectArgs {
    /// Chats with completions: `.jsonl` or `.parquet`.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Judge the first N completions of each row.
    #[arg(long, value_name = "N")]
    pub(crate) best_of: usize,
    /// Score that a completion must reach, 0 to 100.
    #[arg(long, default_value_t = 85.0, value_name = "T")]
    pub(crate) threshold: f32,
    /// Completions to keep per row, best first, duplicates left out.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) keep: usize,
    /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}
