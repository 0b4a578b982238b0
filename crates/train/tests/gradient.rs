//! Gradient transforms on a model: what they do to gradients and weights, and that a resume continues with the same bits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use reft_config::{DriftConfig, DriftScale, GradientConfig, LiftConfig, OptimizerConfig, TrainableConfig};
use reft_core::{Checkpointed as _, Seed};
use reft_train::{AdamW, gradient_transform};
use reft_vlm::{Vlm, VlmOptions, model::Param};
use tch::{Kind, Tensor, no_grad};

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/tiny-vlm")
}

fn model() -> Vlm {
    Vlm::open(&base(), VlmOptions::default()).unwrap()
}

fn optimizer(gradient: &GradientConfig, model: &Vlm) -> AdamW {
    let config = OptimizerConfig { max_grad_norm: 0.0, ..OptimizerConfig::default() };
    let optimizer = AdamW::new(&config, TrainableConfig::default(), Seed::new(3));
    let mut optimizer = optimizer.with_transform(Some(gradient_transform(gradient, Seed::new(1))));
    optimizer.begin(model).unwrap();
    optimizer
}

fn weights(model: &Vlm) -> Vec<Tensor> {
    model.params().params().iter().map(|param| param.tensor.copy()).collect()
}

/// Every gradient is the weight itself plus `plus`.
fn accumulate(model: &Vlm, plus: f64) {
    for (&key, buffer) in model.params().buffers() {
        no_grad(|| model.params().flat_grad(key).unwrap().copy_(&(buffer + plus)));
    }
}

fn is_of_layers(param: &Param) -> bool {
    param.spec.name.starts_with("model.layers.")
}

#[test]
fn drift_goes_the_way_of_the_model_that_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let reason = model();
    for param in reason.params().params().iter().filter(|param| is_of_layers(param)) {
        no_grad(|| drop(param.tensor.shallow_clone().g_add_scalar_(0.25)));
    }
    reason.save(dir.path()).unwrap();

    let config =
        DriftConfig { reason: dir.path().into(), base: base(), alpha: -1.0, scale: DriftScale::Plain };
    let mut model = model();
    let mut optimizer = optimizer(&GradientConfig::Drift(config), &model);
    let before = weights(&model);
    // Without a gradient of its own, every weight of a layer has the gradient -0.25.
    let stats = optimizer.update(&mut model, 1e-2).unwrap();
    let n: i64 = model.params().params().iter().filter(|p| is_of_layers(p)).map(|p| p.spec.numel()).sum();
    assert!((stats.grad_norm - 0.25 * (n as f64).sqrt()).abs() < 1e-3, "{}", stats.grad_norm);
    for (param, before) in model.params().params().iter().zip(&before) {
        let expected = if is_of_layers(param) { 1e-2 } else { 0.0 };
        let off = (param.tensor.detach() - before - expected).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{}: {off}", param.spec.name);
    }
}

#[test]
fn drift_needs_a_model_of_the_same_shape() {
    let other = base().join("../qwen3-vl/model");
    let config = DriftConfig { reason: other, base: base(), alpha: -1.0, scale: DriftScale::Norm };
    let transform = gradient_transform(&GradientConfig::Drift(config), Seed::new(1));
    let optimizer = AdamW::new(&OptimizerConfig::default(), TrainableConfig::default(), Seed::new(3));
    let error = optimizer.with_transform(Some(transform)).begin(&model()).unwrap_err().to_string();
    assert!(error.contains("the direction of `drift`") && error.contains("qwen3-vl"), "{error}");
}

#[test]
fn lift_moves_a_share_of_each_matrix_and_nothing_else() {
    let lift = GradientConfig::Lift(LiftConfig { share: 0.1, rank: 2, every: 2 });
    let mut model = model();
    let mut optimizer = optimizer(&lift, &model);
    let mut moved_before: Option<Vec<Tensor>> = None;
    for update in 0..3 {
        let before = weights(&model);
        accumulate(&model, f64::from(update) - 1.0);
        optimizer.update(&mut model, 1e-2).unwrap();
        let moved = model.params().params().iter().zip(&before);
        let moved: Vec<Tensor> = moved.map(|(p, before)| p.tensor.detach().ne_tensor(before)).collect();
        for (param, moved) in model.params().params().iter().zip(&moved) {
            let n = moved.sum(Kind::Int64).int64_value(&[]);
            let chosen = is_of_layers(param) && param.spec.shape.len() == 2;
            let share = if chosen { (0.1 * param.spec.numel() as f64).round() as i64 } else { 0 };
            // A chosen weight of a vanishing gradient may stay where it is.
            assert!(n <= share && 10 * n >= 9 * share, "{}: {n} of {share}", param.spec.name);
        }
        if let (1, Some(earlier)) = (update, &moved_before) {
            let same = earlier
                .iter()
                .zip(&moved)
                .all(|(a, b)| a.logical_or(b).sum(Kind::Int64) == a.sum(Kind::Int64));
            assert!(same, "the choice stays between refreshes");
        }
        moved_before = Some(moved);
    }
}

#[test]
fn a_resume_keeps_the_choice() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("optimizer.safetensors");
    let lift = GradientConfig::Lift(LiftConfig { share: 0.1, rank: 2, every: 0 });
    let mut whole = model();
    let mut first = optimizer(&lift, &whole);
    accumulate(&whole, 1.0);
    first.update(&mut whole, 1e-2).unwrap();
    first.save(&file, 1).unwrap();
    whole.save(dir.path()).unwrap();

    let mut resumed = model();
    resumed.load(dir.path()).unwrap();
    let mut second = optimizer(&lift, &resumed);
    assert_eq!(second.load(&file).unwrap(), 1);
    for (optimizer, model) in [(&mut first, &mut whole), (&mut second, &mut resumed)] {
        accumulate(model, -2.0);
        optimizer.update(model, 1e-2).unwrap();
    }
    for (a, b) in weights(&whole).iter().zip(weights(&resumed)) {
        assert!(a.equal(&b));
    }
    // Without it, the state is refused by name.
    let plain = AdamW::new(&OptimizerConfig::default(), TrainableConfig::default(), Seed::new(3));
    let mut plain = plain.with_transform(None);
    plain.begin(&whole).unwrap();
    plain.save(&file, 1).unwrap();
    let error = second.load(&file).unwrap_err().to_string();
    assert!(error.contains("was `gradient` changed?"), "{error}");
}
