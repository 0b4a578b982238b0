//! Rollout throughput in tokens per second, and the time of the GRPO step on what was rolled out: 4 prompts of 127
//! tokens (64 of them visual), 8 completions each, 64 new tokens, on a random model of 1.2 M parameters (workload W1);
//! and the same request on the pico model.
//!
//! `cargo bench --bench rollout`. Completions end where they end, so tokens are counted, not assumed.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{ImageFormat, Rgb, RgbImage};
use rand::Rng as _;
use reft_config::GrpoPhase;
use reft_core::{
    BoxFrame, Form, Group, ImageRef, ImageSize, ImageSource, Message, Part, PolicyOptimizer as _,
    RewardParts, Role, RolloutEngine as _, Sample, SamplingParams, ScoredGroup, Seed, Task, Verdict,
};
use reft_grpo::GrpoOptimizer;
use reft_rollout::GenerationEngine;
use reft_vlm::{Vlm, VlmOptions};

const SIDE: u32 = 224;
const PROMPT_TOKENS: usize = 127;

/// The shape of the model, around the tokenizer of the golden checkpoint.
const CONFIG: &str = r#"{
  "model_type": "qwen2_5_vl", "image_token_id": IMAGE_TOKEN, "tie_word_embeddings": false,
  "vocab_size": 332, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
  "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
  "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
  "vision_config": {"depth": 2, "hidden_size": 64, "intermediate_size": 192, "num_heads": 4, "out_hidden_size": 128,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
    "fullatt_block_indexes": [1]}
}"#;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn random_model() -> Vlm {
    let dir = tempfile::tempdir().unwrap();
    let golden = fixture("golden/tiny-vlm");
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"] {
        fs::copy(golden.join(file), dir.path().join(file)).unwrap();
    }
    let golden_config: serde_json::Value =
        serde_json::from_slice(&fs::read(golden.join("config.json")).unwrap()).unwrap();
    let config = CONFIG.replace("IMAGE_TOKEN", &golden_config["image_token_id"].to_string());
    fs::write(dir.path().join("config.json"), config).unwrap();
    let area = SIDE * SIDE;
    let processor = format!(r#"{{"patch_size": 14, "min_pixels": {area}, "max_pixels": {area}}}"#);
    fs::write(dir.path().join("preprocessor_config.json"), processor).unwrap();
    Vlm::open(dir.path(), VlmOptions { init: Some(Seed::new(0)), ..VlmOptions::default() }).unwrap()
}

/// Noise images with a question that fills the prompt to its length where it can.
fn samples(model: &Vlm) -> Vec<Arc<Sample>> {
    let message = |image: &ImageRef, words: usize| {
        let content = vec![Part::Image(image.clone()), Part::Text("? ".repeat(words))];
        vec![Message { role: Role::User, content }]
    };
    (0..4_u64)
        .map(|n| {
            let mut rng = Seed::new(n).rng();
            let noise = RgbImage::from_fn(SIDE, SIDE, |_, _| Rgb(rng.random()));
            let mut png = Cursor::new(Vec::new());
            noise.write_to(&mut png, ImageFormat::Png).unwrap();
            let image = ImageRef {
                source: ImageSource::Bytes(png.into_inner().into()),
                size: ImageSize { width: SIDE, height: SIDE },
                label: "noise".into(),
            };
            let length = |words| model.processor().count_prompt_tokens(&message(&image, words)).unwrap();
            let words =
                (1..PROMPT_TOKENS).take_while(|&words| length(words) <= PROMPT_TOKENS).last().unwrap_or(1);
            Arc::new(Sample {
                id: n.to_string().into(),
                task: Task::Math,
                form: Form::Open,
                problem: String::new(),
                messages: message(&image, words),
                solution: String::new(),
                box_frame: BoxFrame::Original,
                parent: None,
            })
        })
        .collect()
}

fn generate(model: &Vlm, samples: &[Arc<Sample>]) -> Vec<Group> {
    let params = SamplingParams {
        group_size: 8,
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        max_new_tokens: 64,
        seed: Seed::new(1),
    };
    GenerationEngine::default().generate(model, samples, &params, &mut |_, _| true).unwrap()
}

fn rollout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rollout");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let pico = Vlm::open(&fixture("pico-vlm"), VlmOptions::default()).unwrap();
    for (name, model) in [("random 1.2 M, 4 x 8 x 64", random_model()), ("pico, 4 x 8 x 64", pico)] {
        let samples = samples(&model);
        let tokens: usize =
            generate(&model, &samples).iter().flat_map(|g| &g.completions).map(|c| c.token_ids.len()).sum();
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(name, |bencher| bencher.iter(|| generate(&model, &samples)));
    }
    group.finish();
}

/// Loss, gradient, KL reference and AdamW on the groups of one rollout, half of them better than the others.
fn grpo_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grpo step");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let pico = Vlm::open(&fixture("pico-vlm"), VlmOptions::default()).unwrap();
    for (name, mut model) in [("random 1.2 M, 4 x 8 x 64", random_model()), ("pico, 4 x 8 x 64", pico)] {
        let scored: Vec<ScoredGroup> = generate(&model, &samples(&model)).into_iter().map(score).collect();
        let phase: GrpoPhase =
            serde_json::from_value(serde_json::json!({"name": "bench", "data": "none", "steps": 1_000_000}))
                .unwrap();
        let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(1)).unwrap();
        group.bench_function(name, |bencher| bencher.iter(|| optimizer.update(&mut model, &scored).unwrap()));
    }
    group.finish();
}

fn score(group: Group) -> ScoredGroup {
    let n = group.completions.len();
    let rewards = vec![RewardParts::default(); n];
    let advantages = (0..n).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    ScoredGroup { group, rewards, advantages, verdict: Verdict::Admit }
}

criterion_group!(benches, rollout, grpo_step);
criterion_main!(benches);
