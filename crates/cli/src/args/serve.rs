//! `serve`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::ComputeArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft serve --model fixtures/pico-vlm
  reft serve --model Qwen2.5-VL-3B-Instruct --dtype bf16 --adapter tuned=runs/run/final --files /data/pictures
  REFT_API_KEY=secret reft serve --model DIR --host 0.0.0.0 --port 8000

  curl -s localhost:8000/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'

Routes: /v1/chat/completions, /v1/completions, /v1/models, /v1/load_lora_adapter, /v1/unload_lora_adapter, /health, /metrics.
Ctrl-C finishes what was asked; a second one stops at once. What is supported, and what differs from vLLM: docs/SERVING.md.")]
pub(crate) struct ServeArgs {
    /// Hugging Face folder of the checkpoint, or its name on the hub (`ORG/NAME`); or an adapter folder that names its base.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// A LoRA adapter, a folder as PEFT writes it, that requests choose by this name; may be given several times.
    #[arg(long, value_name = "NAME=DIR", value_parser = named)]
    pub(crate) adapter: Vec<(String, PathBuf)>,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// What requests call the model; the folder's name when not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) served_model_name: Option<String>,
    /// Address to listen on. With another than loopback set a key, and think of who can reach it.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 takes a free one, which is said.
    #[arg(long, default_value_t = 8000, value_name = "N")]
    pub(crate) port: u16,
    /// Environment variable with the key that requests must bring as `Authorization: Bearer KEY`; unset asks nobody.
    #[arg(long, default_value = "REFT_API_KEY", value_name = "NAME")]
    pub(crate) api_key_env: String,
    /// Folder below which `file://` pictures may lie; without it pictures come as `data:` URLs alone.
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Folder below which adapters must lie that `/v1/load_lora_adapter` names; without it adapters neither come nor go by request.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter_files: Option<PathBuf>,
    /// Longest prompt in tokens, those of pictures included.
    #[arg(long, default_value_t = 4096, value_name = "N")]
    pub(crate) max_prompt_tokens: usize,
    /// Longest answer in tokens, and what an answer may have when a request does not say.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub(crate) max_tokens: usize,
    /// Answers to one prompt that share its keys and values.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub(crate) answers: usize,
    /// Most prompts that are answered at a time, as far as memory allows.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) max_prompts: usize,
    /// Memory for keys and values, in MiB; without it 65,536 tokens.
    #[arg(long, value_name = "MIB")]
    pub(crate) kv_memory_mib: Option<u64>,
    /// Requests that may wait for room; more get status 429.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(crate) max_waiting: usize,
    /// Seconds from a request to the end of its last answer.
    #[arg(long, default_value_t = 600, value_name = "S")]
    pub(crate) timeout: u64,
    /// Largest body of a request, in MiB.
    #[arg(long, default_value_t = 32, value_name = "MIB")]
    pub(crate) max_body_mib: usize,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => Ok((name.to_owned(), PathBuf::from(dir))),
        _ => Err("write NAME=DIR".to_owned()),
    }
}
