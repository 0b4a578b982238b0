//! Rollout and update of a model of Qwen2.5-VL-3B's shape on a CUDA GPU, with random bf16 weights: 8 prompts of about
//! 1,000 tokens (900 of them one image), 8 completions of 256 tokens for each. Beside them the least time that the
//! memory allows a decode step, by the bandwidth of a copy on the same card.
//!
//! `cargo bench --bench cuda`, with `-- rollout` or `-- update` for one half. Without a GPU it says so and ends.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]
#![expect(clippy::print_stdout, reason = "a bench that Criterion's sampling does not fit prints for itself")]

#[path = "workloads/answers.rs"]
mod answers;
#[expect(dead_code, reason = "the other benches' workloads are not this one's")]
mod workloads;

use std::{sync::Arc, time::Instant};

use answers::answered;
use reft_config::GrpoPhase;
use reft_core::{Group, PolicyOptimizer as _, RolloutEngine as _, Sample, SamplingParams, ScoredGroup, Seed};
use reft_grpo::GrpoOptimizer;
use reft_rollout::GenerationEngine;
use reft_vlm::{Vlm, VlmOptions, cuda};
use tch::{Cuda, Device, Kind, Tensor};
use workloads::{Workload, open_random, samples};

const GROUP: usize = 8;
const NEW_TOKENS: usize = 256;
const WORKLOAD: Workload =
    Workload { name: "3B, 8 x 8 x 256", shape: None, prompts: 8, side: 840, prompt_tokens: 1000 };
const DEVICE: Device = Device::Cuda(0);

fn main() {
    let status = cuda::load();
    if !Cuda::is_available() {
        println!("no CUDA GPU, nothing is measured: {status}");
        return;
    }
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let bandwidth = copy_bandwidth();
    println!("{}; a copy moves {:.2} TB/s", WORKLOAD.name, bandwidth / 1e12);
    let mut model = open();
    println!("{:.2} B parameters", model.params().numel() as f64 / 1e9);
    if only.as_deref() != Some("update") {
        rollout(&model, bandwidth);
    }
    if only.as_deref() != Some("rollout") {
        update(&mut model);
    }
}

fn rollout(model: &Vlm, bandwidth: f64) {
    let samples = samples(&WORKLOAD, model);
    let generate = |new_tokens: usize, seed: u64| {
        let started = Instant::now();
        let groups = generate(model, &samples, new_tokens, seed);
        Cuda::synchronize(0);
        (started.elapsed().as_secs_f64(), groups)
    };
    check(model, &samples);
    let (warm_up, groups) = generate(NEW_TOKENS, 0);
    println!("warm-up {warm_up:.2} s");
    let tokens: usize = groups.iter().flat_map(|g| &g.completions).map(|c| c.token_ids.len()).sum();
    assert_eq!(tokens, samples.len() * GROUP * NEW_TOKENS, "no completion ends early");
    let prompt_tokens: usize = groups.iter().map(|g| g.prompt_tokens).sum();
    let floor = step_bytes(model, prompt_tokens, samples.len() * GROUP) / bandwidth;
    for repetition in 1..=3 {
        let ((first, _), (whole, _)) = (generate(1, repetition), generate(NEW_TOKENS, repetition));
        let step = (whole - first) / (NEW_TOKENS - 1) as f64;
        println!(
            "rollout {whole:.3} s, {:.0} tokens/s; prompts and first token {:.0} ms; a decode step {:.2} ms, the memory \
             allows {:.2} ms, {:.0} %",
            tokens as f64 / whole,
            first * 1e3,
            step * 1e3,
            floor * 1e3,
            100.0 * floor / step,
        );
    }
}

fn generate(model: &Vlm, samples: &[Arc<Sample>], new_tokens: usize, seed: u64) -> Vec<Group> {
    let params =
        SamplingParams { group_size: GROUP, seed: Seed::new(seed), ..SamplingParams::plain(new_tokens) };
    GenerationEngine::default().generate(model, samples, &params, &mut |_, _| true).unwrap()
}

/// Whether the decode kernels and tensor operations write the same: as long as a completion's tokens are the same, its
/// log-probabilities must be too, within what bf16 rounds away in 36 layers.
fn check(model: &Vlm, samples: &[Arc<Sample>]) {
    let params = SamplingParams { group_size: GROUP, seed: Seed::new(9), ..SamplingParams::plain(40) };
    let generate =
        |mut engine: GenerationEngine| engine.generate(model, samples, &params, &mut |_, _| true).unwrap();
    let by_kernels = generate(GenerationEngine::default());
    let by_tensors = generate(GenerationEngine::default().without_kernels());
    let (mut compared, mut sum, mut largest) = (0, 0.0, 0.0_f64);
    for (a, b) in by_kernels.iter().zip(&by_tensors) {
        for (a, b) in a.completions.iter().zip(&b.completions) {
            let tokens = a.token_ids.iter().zip(&b.token_ids).take_while(|(a, b)| a == b).count();
            for (a, b) in a.logprobs.iter().zip(&b.logprobs).take(tokens) {
                let difference = f64::from((a - b).abs());
                (compared, sum, largest) = (compared + 1, sum + difference, largest.max(difference));
            }
        }
    }
    let mean = sum / f64::from(compared);
    println!(
        "kernels against tensors: {compared} tokens alike, log-probabilities differ by {mean:.4}, at most {largest:.3}"
    );
    assert!(compared > 200 && mean < 0.02 && largest < 0.2, "the kernels are wrong");
}

/// Bytes that a step halfway through the completions must read: matrices of decoder and head, each prompt's keys and
/// values once, and each completion's own.
fn step_bytes(model: &Vlm, prompt_tokens: usize, completions: usize) -> f64 {
    let text = &model.config().text;
    let matrices: i64 = model
        .params()
        .params()
        .iter()
        .filter(|param| param.spec.name.starts_with("model.layers.") && param.spec.shape.len() > 1)
        .map(|param| param.spec.numel())
        .sum();
    let head = text.vocab_size * text.hidden_size;
    let per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim;
    let tokens = prompt_tokens + completions * NEW_TOKENS / 2;
    2.0 * ((matrices + head) as f64 + per_token as f64 * tokens as f64)
}

fn update(model: &mut Vlm) {
    let samples = samples(&WORKLOAD, model);
    let groups: Vec<ScoredGroup> =
        samples.into_iter().map(|sample| answered(sample, model, GROUP, NEW_TOKENS)).collect();
    let phase: GrpoPhase = serde_json::from_value(serde_json::json!({
        "name": "bench", "data": "none", "steps": 1_000_000, "recompute": true, "micro_batch_tokens": 8192,
        "kl_coef": 0.0, "optimizer": {"small_weights": "kahan", "moments": "int8"},
    }))
    .unwrap();
    let mut optimizer = GrpoOptimizer::new(&phase, model, Seed::new(1)).unwrap();
    let tokens: usize = groups.iter().map(|g| g.group.prompt_tokens + GROUP * (NEW_TOKENS - 1)).sum();
    let flops = 6.0 * model.params().numel() as f64 * tokens as f64;
    for repetition in 0..3 {
        let started = Instant::now();
        optimizer.update(model, &groups).unwrap();
        Cuda::synchronize(0);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "update {repetition}: {seconds:.2} s, {:.0} tokens/s, 6 N T is {:.1} TFLOP/s",
            tokens as f64 / seconds,
            flops / seconds / 1e12,
        );
    }
}

/// Bytes read and written in a second by a copy of 2 GiB; the best of ten.
fn copy_bandwidth() -> f64 {
    let from = Tensor::randn([1 << 29], (Kind::Float, DEVICE));
    let mut to = from.empty_like();
    let mut seconds = f64::INFINITY;
    for _ in 0..10 {
        Cuda::synchronize(0);
        let started = Instant::now();
        to.copy_(&from);
        Cuda::synchronize(0);
        seconds = seconds.min(started.elapsed().as_secs_f64());
    }
    2.0 * 4.0 * from.numel() as f64 / seconds
}

fn open() -> Vlm {
    let config = serde_json::json!({
        // Beyond the tokenizer, so that it is never drawn.
        "eos_token_id": 151_935,
        "model_type": "qwen2_5_vl", "image_token_id": 318, "tie_word_embeddings": true,
        "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 128_000,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    });
    let options =
        VlmOptions { kind: Kind::BFloat16, device: DEVICE, feature_memory: 0, ..VlmOptions::default() };
    open_random(&config, WORKLOAD.side, options)
}
