//! What is seen of a policy before it trains.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, sync::Arc};

use reft_core::{Demonstration, ImageSize, Sample};
use reft_testkit::{demonstration, sums, with_image};
use reft_train::{everything_learns, examine};
use reft_vlm::{
    Vlm, VlmOptions,
    lora::{LoraOption, LoraSettings, LoraTargets},
    model::Keep,
};
use tch::no_grad;

const SIZE: ImageSize = ImageSize { width: 56, height: 56 };
const FAMILIES: [&str; 6] = [
    "tiny-vlm",
    "qwen2-vl/model",
    "qwen3-vl/model",
    "qwen3_5/model",
    "smolvlm/model",
    "internvl-qwen3/model",
];

fn open(name: &str, lora: Option<LoraOption>) -> Vlm {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name);
    let model = Vlm::open(&dir, VlmOptions { lora, ..VlmOptions::default() }).unwrap();
    model.set_trainable(|_| true);
    model
}

fn shown() -> Vec<Demonstration> {
    let samples: Vec<Arc<Sample>> =
        sums(2).iter().map(|sample| with_image(sample, SIZE, [200, 40, 90])).collect();
    samples.iter().map(demonstration).collect()
}

#[test]
fn a_sound_policy_passes_and_is_left_as_it_was() {
    for name in FAMILIES {
        for keep in [Keep::Graph, Keep::LayerInputs] {
            let mut model = open(name, None);
            let found = examine(&mut model, &shown(), keep).unwrap();
            assert_eq!((found.answers, found.with_image), (2, 2));
            assert!(found.image_effect.unwrap() > 1e-3, "{name}: {found:?}");
            for key in model.params().buffers().keys() {
                let grad = model.params().flat_grad(*key).unwrap();
                assert_eq!(grad.abs().max().double_value(&[]), 0.0, "{name}: {key:?}");
            }
        }
    }
}

/// `B` of a fresh adapter is 0, and so is the gradient of its `A`: reached all the same.
#[test]
fn a_gradient_of_zero_is_a_gradient() {
    let targets = LoraTargets::Pattern("all-linear".into());
    let settings = LoraSettings { rank: 2, targets, ..LoraSettings::default() };
    let mut model = open("tiny-vlm", Some(LoraOption::New { settings, seed: reft_core::Seed::new(1) }));
    examine(&mut model, &shown(), Keep::Graph).unwrap();
}

#[test]
fn parameters_without_a_gradient_are_told_from_those_whose_gradient_is_zero() {
    let model = open("tiny-vlm", None);
    let params = model.params();
    params.expect_gradients();
    assert_eq!(params.unreached().len(), params.params().len());
    (params.value(&params.params()[3]) * 0.0).sum(tch::Kind::Float).backward();
    let unreached = params.unreached();
    assert_eq!(unreached.len(), params.params().len() - 1);
    assert!(unreached.iter().all(|spec| spec.name != params.params()[3].spec.name));
}

#[test]
fn a_policy_that_does_not_see_is_refused() {
    let mut model = open("tiny-vlm", None);
    for param in model.params().params().iter().filter(|p| p.spec.name.starts_with("visual.merger.mlp.2")) {
        let _ = no_grad(|| param.tensor.shallow_clone().zero_());
    }
    let error = examine(&mut model, &shown(), Keep::Graph).unwrap_err().to_string();
    for expected in ["does not see its images", "no token of 2 answers", "0.0e0", "`preflight.answers = 0`"] {
        assert!(error.contains(expected), "{error}");
    }
}

/// Imitation may begin blind: that is what it can teach.
#[test]
fn a_policy_that_does_not_see_may_imitate() {
    let mut model = open("tiny-vlm", None);
    for param in model.params().params().iter().filter(|p| p.spec.name.starts_with("visual.merger.mlp.2")) {
        let _ = no_grad(|| param.tensor.shallow_clone().zero_());
    }
    let found = everything_learns(&mut model, &shown(), Keep::Graph).unwrap();
    assert_eq!(found.image_effect, Some(0.0));
}

/// Weights that are not numbers are another matter, which the first step tells.
#[test]
fn what_is_not_finite_is_not_called_unreached() {
    let mut model = open("tiny-vlm", None);
    let norm = model.params().params().iter().find(|p| p.spec.name == "model.norm.weight").unwrap();
    let _ = no_grad(|| norm.tensor.shallow_clone().fill_(f64::NAN));
    everything_learns(&mut model, &shown(), Keep::Graph).unwrap();
}

/// Texts say nothing about the tower.
#[test]
fn texts_alone_do_not_ask_for_gradients_of_the_tower() {
    let texts: Vec<Demonstration> = sums(2).iter().map(demonstration).collect();
    let found = examine(&mut open("tiny-vlm", None), &texts, Keep::Graph).unwrap();
    assert_eq!((found.answers, found.with_image, found.image_effect), (2, 0, None));
}
