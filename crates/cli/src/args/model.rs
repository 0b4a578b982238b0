//! Commands that load a model: `generate`, `logprobs`, `eval`. And `doctor`, which looks at one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::BenchmarkArgs;

/// Which model, and where it computes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Hugging Face folder of the checkpoint, or its name on the hub (`ORG/NAME`); or an adapter folder that names its base.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Apply this LoRA adapter, a folder as PEFT writes it, to the checkpoint.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Who answers: a model of this process, or servers.
#[derive(Clone, Debug, Args)]
pub(crate) struct AnswererArgs {
    /// Hugging Face folder of the checkpoint, or its name on the hub (`ORG/NAME`); or an adapter folder that names its base.
    #[arg(long, value_name = "DIR", required_unless_present = "server")]
    pub(crate) model: Option<PathBuf>,
    /// Apply this LoRA adapter, a folder as PEFT writes it, to the checkpoint.
    #[arg(long, value_name = "DIR", requires = "model")]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Ask an OpenAI-compatible server, such as `http://localhost:8000/v1`, in place of a model of this process; given
    /// several times, the least busy of these.
    #[arg(long, value_name = "URL", conflicts_with = "model", requires = "served_model")]
    pub(crate) server: Vec<String>,
    /// What the servers call the model.
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) served_model: Option<String>,
    /// Environment variable with the key of the servers.
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) server_key_env: Option<String>,
    /// Questions that the servers are asked at once.
    #[arg(long, default_value_t = 16, value_name = "N", requires = "server")]
    pub(crate) connections: usize,
}

/// How a model computes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ComputeArgs {
    /// Number type of the weights in memory.
    #[arg(long, default_value = "fp32")]
    pub(crate) dtype: DtypeArg,
    /// Where to compute.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceArg,
    /// CPU threads; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) threads: usize,
}

/// What to look at.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Tell what this Hugging Face folder, or this model of the hub (`ORG/NAME`), holds, what does not fit, and the memory it needs; loads nothing.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Tell the memory of each of so many ranks that divide the optimizer's state (`run.shard = "optimizer"`).
    #[arg(long, value_name = "N", requires = "model", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ranks: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft merge --model Qwen2.5-VL-3B-Instruct --adapter runs/run/final --output merged
  reft merge --model DIR --adapter DIR --output merged --dtype fp32 --max-shard-mb 2000

The output is a Hugging Face checkpoint of its own: weights W + alpha / rank * B A, config, tokenizer and processor.
`reft generate --model DIR --adapter DIR` uses an adapter without merging it.")]
pub(crate) struct MergeArgs {
    /// Hugging Face folder of the base model, or its name on the hub (`ORG/NAME`).
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The LoRA adapter, a folder as PEFT writes it.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// Folder for the merged checkpoint.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Number type of the merged weights; the update is added in fp32.
    #[arg(long, default_value = "bf16")]
    pub(crate) dtype: DtypeArg,
    /// Largest file in megabytes; larger weights are written as several files with an index.
    #[arg(long, default_value_t = 5000, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_shard_mb: u64,
}

/// Number types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArg {
    /// 32-bit floats.
    Fp32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    Fp16,
}

/// Devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceArg {
    /// The first CUDA GPU when there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA GPU.
    Cuda,
}

/// How completions are drawn.
#[derive(Clone, Debug, Args)]
pub(crate) struct SamplingArgs {
    /// Completions per prompt.
    #[arg(long, default_value_t = 1, value_name = "G")]
    pub(crate) samples: usize,
    /// Softmax temperature; 0 takes the most likely token.
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub(crate) temperature: f32,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub(crate) top_p: f32,
    /// Keep the K most likely tokens; 0 keeps all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub(crate) top_k: usize,
    /// Keep tokens of at least this share of the most likely one's probability; 0 keeps all.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub(crate) min_p: f32,
    /// Makes tokens of prompt and completion less likely when above 1.
    #[arg(long, default_value_t = 1.0, value_name = "R")]
    pub(crate) repetition_penalty: f32,
    /// Taken from the logits of tokens that the completion holds.
    #[arg(long, default_value_t = 0.0, value_name = "A", allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,
    /// The same, as often as the completion holds the token.
    #[arg(long, default_value_t = 0.0, value_name = "A", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,
    /// Longest completion in tokens.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(crate) max_new_tokens: usize,
    /// Shortest completion in tokens.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) min_new_tokens: usize,
    /// Ends a completion when its text holds this; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// A text that is one token, which is never drawn; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) ban: Vec<String>,
    /// Seed of the sampling; the same seed, model and row give the same completions.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft generate --model fixtures/pico-vlm --input chats.jsonl --output answers.jsonl
  reft generate --model DIR --input chats.jsonl --output answers.parquet --samples 8 --temperature 1.0
  reft generate --server http://localhost:8000/v1 --served-model mine --input chats.jsonl --output answers.jsonl

A row: {\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"image\":\"cat.png\"},
        {\"type\":\"text\",\"text\":\"...\"}]}]}; image paths are relative to the file.
The output has each row with \"completions\":[{\"text\",\"token_ids\",\"logprobs\",\"finish_reason\"}].")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) who: AnswererArgs,
    /// Chats: `.jsonl` or `.parquet`.
    #[arg(long, value_name = "CHATS")]
    pub(crate) input: PathBuf,
    /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Prompts answered together; more is faster and takes more memory.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub(crate) batch: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft logprobs --model fixtures/pico-vlm --input chats.jsonl --output logprobs.jsonl

A row is a chat with a \"completion\".
The output has each row with \"prompt_tokens\", \"token_ids\" and \"logprobs\" (natural logarithm, of the
completion's tokens as tokenized; no end token is appended).")]
pub(crate) struct LogprobsArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Chats with completions: `.jsonl` or `.parquet`.
    #[arg(long, value_name = "CHATS")]
    pub(crate) input: PathBuf,
    /// Where to write; the format follows the ending, `.jsonl` or `.parquet`.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft eval --model DIR --benchmark mathvista --data testmini.parquet --output eval
  reft eval --model DIR --benchmark mmbench --data MMBench_DEV_EN.tsv --grader ours --blind --output eval
  reft eval --model DIR --suite suite.toml --output eval
  reft eval --server http://localhost:8000/v1 --served-model mine --suite suite.toml --output eval
  reft eval --model runs/demo/final --benchmark generic --data fixtures/easy_vqa/test.parquet --task vqa --output eval
  reft eval --model DIR --benchmark generic --data test.jsonl --output eval --samples 8 --temperature 1.0
  reft eval --model runs/demo/final --benchmark generic --data test.jsonl --output eval --prompts configs/demo.toml

A command that was stopped goes on where it was. Benchmarks, graders and what they agree with: docs/BENCHMARKS_VLM.md.")]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) who: AnswererArgs,
    #[command(flatten)]
    pub(crate) benchmark: BenchmarkArgs,
    /// Several benchmarks from a file with `[[benchmarks]]`, in place of `--benchmark` and `--data`; each gets a folder.
    #[arg(
        long,
        value_name = "SUITE.toml",
        conflicts_with_all = ["benchmark", "grader", "prompt", "suffix", "strip_tags", "limit", "judge", "judge_checkpoint"]
    )]
    pub(crate) suite: Option<PathBuf>,
    /// Ask again with grey pictures, and say what the pictures add.
    #[arg(long)]
    pub(crate) blind: bool,
    /// Folder for `report.json` and `predictions.parquet`.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Take the prompt templates of this recipe, so that questions are put as in training.
    #[arg(long, value_name = "RECIPE.toml")]
    pub(crate) prompts: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Prompts answered together; more is faster and takes more memory.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) batch: usize,
}
