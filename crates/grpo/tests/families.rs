//! One GRPO step on the tiny random checkpoint of every family: rollout, reference and trainer agree, and every part of
//! the model learns.

use std::{path::PathBuf, sync::Arc};

use reft_config::GrpoPhase;
use reft_core::{
    Group, ImageRef, ImageSize, ImageSource, Part, PolicyOptimizer as _, RewardParts, RolloutEngine as _,
    Sample, SamplingParams, ScoredGroup, Seed, Verdict,
};
use reft_grpo::GrpoOptimizer;
use reft_rollout::GenerationEngine;
use reft_testkit::chat as sample;
use reft_vlm::{
    Vlm, VlmOptions,
    lora::{LoraOption, LoraSettings, LoraTargets},
    model::PartOfModel,
};
use tch::Tensor;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn samples() -> Vec<Arc<Sample>> {
    let photo = || {
        Part::Image(ImageRef {
            source: ImageSource::Path(golden("images/photo.png")),
            size: ImageSize { width: 85, height: 62 },
            label: Arc::from("photo.png"),
        })
    };
    let text = |text: &str| Part::Text(text.into());
    vec![sample("image", vec![photo(), text("Is it a cat?")]), sample("text", vec![text("What is 2 + 3?")])]
}

fn score(group: Group) -> ScoredGroup {
    let n = group.completions.len();
    let advantages = (0..n).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    ScoredGroup { group, rewards: vec![RewardParts::default(); n], advantages, verdict: Verdict::Admit }
}

fn buffers(model: &Vlm) -> Vec<(PartOfModel, Tensor)> {
    model.params().buffers().iter().map(|(key, buffer)| (key.part, buffer.copy())).collect()
}

fn params() -> SamplingParams {
    SamplingParams { group_size: 4, seed: Seed::new(3), ..SamplingParams::plain(16) }
}

fn phase(lr: f64) -> serde_json::Result<GrpoPhase> {
    let phase = serde_json::json!({"name": "test", "data": "none", "steps": 100, "lr": lr, "kl_coef": 0.1});
    serde_json::from_value(phase)
}

#[test]
fn a_step_on_every_family() {
    let (params, phase) = (params(), phase(1e-3).unwrap());
    for name in [
        "tiny-vlm",
        "qwen2-vl/model",
        "qwen3-vl/model",
        "qwen3_5/model",
        "smolvlm/model",
        "internvl-qwen3/model",
    ] {
        let mut model = Vlm::open(&golden(name), VlmOptions::default()).unwrap();
        let groups =
            GenerationEngine::default().generate(&model, &samples(), &params, &mut |_, _| true).unwrap();
        let scored: Vec<ScoredGroup> = groups.into_iter().map(score).collect();
        let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(0)).unwrap();

        let before = buffers(&model);
        let first = optimizer.update(&mut model, &scored).unwrap();
        let value = |metrics: &reft_core::Metrics, key: &str| metrics.get(key).unwrap();
        assert!(
            value(&first, "grpo/logprob_diff_max") < 1e-4,
            "{name}: rollout and trainer differ: {first:?}"
        );
        assert!(value(&first, "grpo/kl").abs() < 1e-6, "{name}: the reference is the policy: {first:?}");
        assert!(value(&first, "grpo/grad_norm") > 0.0, "{name}: {first:?}");
        for ((part, before), (_, after)) in before.iter().zip(buffers(&model)) {
            assert!((before - after).abs().max().double_value(&[]) > 1e-4, "{name}: {part:?} did not move");
        }
        let second = optimizer.update(&mut model, &scored).unwrap();
        assert!(value(&second, "grpo/kl") > 1e-6, "{name}: the policy left the reference: {second:?}");
    }
}

/// Only the adapter learns, the reference is the model without it and takes no memory of its own, and rollout and trainer
/// agree with the adapter on.
#[test]
fn a_step_of_an_adapter_on_every_family() {
    let (params, phase) = (params(), phase(1e-2).unwrap());
    let settings = LoraSettings {
        rank: 4,
        targets: LoraTargets::Pattern("all-linear".into()),
        ..LoraSettings::default()
    };
    for name in [
        "tiny-vlm",
        "qwen2-vl/model",
        "qwen3-vl/model",
        "qwen3_5/model",
        "smolvlm/model",
        "internvl-qwen3/model",
    ] {
        let lora = Some(LoraOption::New { settings: settings.clone(), seed: Seed::new(1) });
        let mut model = Vlm::open(&golden(name), VlmOptions { lora, ..VlmOptions::default() }).unwrap();
        let groups =
            GenerationEngine::default().generate(&model, &samples(), &params, &mut |_, _| true).unwrap();
        let scored: Vec<ScoredGroup> = groups.into_iter().map(score).collect();
        let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(0)).unwrap();
        let weights = buffers(&model);
        let adapter: Vec<Tensor> = model.learned().buffers().values().map(Tensor::copy).collect();

        let first = optimizer.update(&mut model, &scored).unwrap();
        let value = |metrics: &reft_core::Metrics, key: &str| metrics.get(key).unwrap();
        assert!(value(&first, "grpo/logprob_diff_max") < 1e-4, "{name}: {first:?}");
        assert!(value(&first, "grpo/kl").abs() < 1e-6, "{name}: a fresh adapter changes nothing: {first:?}");
        let second = optimizer.update(&mut model, &scored).unwrap();
        assert!(value(&second, "grpo/kl") > 1e-6, "{name}: {second:?}");

        for ((part, before), (_, after)) in weights.iter().zip(buffers(&model)) {
            assert!(before.equal(&after), "{name}: {part:?} is the checkpoint's and must not move");
        }
        for (before, (key, after)) in adapter.iter().zip(model.learned().buffers()) {
            assert!((before - after).abs().max().double_value(&[]) > 1e-3, "{name}: {key:?} did not move");
        }

        // What was sampled with the adapter as it is now is what the trainer sees.
        let groups =
            GenerationEngine::default().generate(&model, &samples(), &params, &mut |_, _| true).unwrap();
        let scored: Vec<ScoredGroup> = groups.into_iter().map(score).collect();
        let third = optimizer.update(&mut model, &scored).unwrap();
        assert!(value(&third, "grpo/logprob_diff_max") < 1e-4, "{name}: {third:?}");

        // The reference of the next phase is a copy of the adapter alone.
        assert_eq!(model.freeze().params().numel(), model.learned().numel());
        assert_eq!(model.without_adapter().unwrap().params().numel(), 0);
    }
}
