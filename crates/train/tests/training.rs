//! AdamW against its formula, and the chunked loss against the plain one, on the golden checkpoints.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use reft_config::{OptimizerConfig, TrainableConfig};
use reft_core::{Limit, Message, Part, Role, Seed, Support};
use reft_train::{AdamW, Entropy, TokenPass, token_logprobs};
use reft_vlm::{
    Vlm, VlmOptions,
    model::{Distribution, Keep},
};
use tch::{Kind, Tensor};

fn golden(name: &str) -> Vlm {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name);
    Vlm::open(&dir, VlmOptions::default()).unwrap()
}

fn model() -> Vlm {
    golden("tiny-vlm")
}

/// Sets the gradient of every parameter to `sin` of its place, times `scale`.
fn set_gradients(model: &Vlm, scale: f64) {
    for param in model.params().params() {
        let n = param.spec.numel();
        let gradient =
            Tensor::arange(n, (Kind::Float, tch::Device::Cpu)).sin().view(param.spec.shape.as_slice());
        (model.params().value(param) * gradient * scale).sum(Kind::Float).backward();
    }
}

#[test]
fn adamw_is_its_formula() {
    let mut model = model();
    let config = OptimizerConfig { weight_decay: 0.1, max_grad_norm: 0.0, ..OptimizerConfig::default() };
    let mut optimizer = AdamW::new(&config, TrainableConfig::default(), Seed::new(0));
    optimizer.begin(&model).unwrap();
    let names = ["model.layers.0.mlp.up_proj.weight", "model.norm.weight", "visual.merger.mlp.0.bias"];
    let values = |model: &Vlm, name: &str| -> Vec<f64> {
        let param = model.params().params().iter().find(|p| p.spec.name == name).unwrap();
        Vec::<f32>::try_from(param.tensor.detach().flatten(0, -1))
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect()
    };
    let mut expected: Vec<Vec<f64>> = names.iter().map(|name| values(&model, name)).collect();

    let (lr, scales) = (1e-2, [1.0, -0.5, 2.0]);
    for (t, scale) in scales.iter().enumerate() {
        set_gradients(&model, *scale);
        assert!(optimizer.update(&mut model, lr).unwrap().applied);
        for (name, weights) in names.iter().zip(&mut expected) {
            for (i, w) in weights.iter_mut().enumerate() {
                // Moments over all gradients so far, in closed form.
                let (mut m, mut v) = (0.0, 0.0);
                for s in &scales[..=t] {
                    let g = s * (i as f64).sin();
                    m = 0.9 * m + 0.1 * g;
                    v = 0.999 * v + 0.001 * g * g;
                }
                let steps = t as i32 + 1;
                let (m, v) = (m / (1.0 - 0.9_f64.powi(steps)), v / (1.0 - 0.999_f64.powi(steps)));
                // Vectors (norms, biases) do not decay.
                let decay = if name.ends_with("up_proj.weight") { 1.0 - lr * 0.1 } else { 1.0 };
                *w = *w * decay - lr * m / (v.sqrt() + 1e-8);
            }
        }
    }
    for (name, weights) in names.iter().zip(&expected) {
        for (got, want) in values(&model, name).iter().zip(weights) {
            assert!((got - want).abs() < 1e-5, "{name}: {got} is not {want}");
        }
    }
}

#[test]
fn frozen_parts_stay_and_norms_are_clipped() {
    let mut model = model();
    let before: Vec<Tensor> = model.params().params().iter().map(|p| p.tensor.copy()).collect();
    let trainable = TrainableConfig { vision_tower: false, merger: false, decoder: true };
    let mut optimizer = AdamW::new(&OptimizerConfig::default(), trainable, Seed::new(0));
    optimizer.begin(&model).unwrap();
    let decoder = model.params().params().iter().filter(|p| !p.spec.name.starts_with("visual."));
    for param in decoder {
        model.params().value(param).sum(Kind::Float).backward();
    }
    let stats = optimizer.update(&mut model, 1e-2).unwrap();
    let n: i64 = model
        .params()
        .params()
        .iter()
        .filter(|p| !p.spec.name.starts_with("visual."))
        .map(|p| p.spec.numel())
        .sum();
    // Every gradient is 1, so the norm is the root of their number.
    assert!((stats.grad_norm - (n as f64).sqrt()).abs() < 1e-3, "{stats:?}");
    for (param, before) in model.params().params().iter().zip(before) {
        let moved = !param.tensor.detach().equal(&before.detach());
        assert_eq!(moved, !param.spec.name.starts_with("visual."), "{}", param.spec.name);
    }
}

/// Over a thousand predicted tokens make several chunks.
#[test]
fn chunked_gradients_are_the_plain_ones() {
    for name in [
        "tiny-vlm",
        "qwen2-vl/model",
        "qwen3-vl/model",
        "qwen3_5/model",
        "smolvlm/model",
        "internvl-qwen3/model",
    ] {
        chunked_equals_plain(&mut golden(name));
    }
}

/// A record that keeps a few tokens, or drops a few, or none, and what it means: `[c, v]` 0 or -inf.
fn a_support(targets_c: &Tensor, v: i64) -> (Support, Tensor) {
    let mut support = Support::default();
    let mask = Tensor::zeros([targets_c.size()[0], v], (Kind::Float, tch::Device::Cpu));
    for (c, target) in Vec::<i64>::try_from(targets_c).unwrap().into_iter().enumerate() {
        let row = mask.get(c as i64);
        if c % 3 == 0 {
            support.push(Limit::Kept(&[7, 100, target as u32, 310]));
            let _ = row.shallow_clone().fill_(f64::NEG_INFINITY);
            for id in [7, 100, target, 310] {
                let _ = row.get(id).fill_(0.0);
            }
        } else {
            let dropped: &[u32] = if c % 3 == 1 { &[0, 11, 200] } else { &[] };
            support.push(Limit::Dropped(dropped));
            for &id in dropped {
                let _ = row.get(i64::from(id)).fill_(f64::NEG_INFINITY);
            }
        }
    }
    (support, mask)
}

fn chunked_equals_plain(model: &mut Vlm) {
    model.set_trainable(|_| true);
    let prompt = model
        .encode(&[Message { role: Role::User, content: vec![Part::Text("How many are there?".into())] }])
        .unwrap();
    let completions: Vec<Vec<i64>> =
        (0..60).map(|i| (0..20 + i % 3).map(|t| 256 + (7 * i + 3 * t) % 40).collect()).collect();
    let batch = model.pack(&[(&prompt, completions.iter().map(Vec::as_slice).collect())]);
    let n = batch.targets_c.size()[0];
    assert!(n > 1024, "{n}");
    let no_mask = model.allowed_tokens().zeros_like();
    let weights_c = Tensor::arange(n, (Kind::Float, tch::Device::Cpu)).cos();
    let (support, mask_cv) = a_support(&batch.targets_c, no_mask.size()[0]);
    let distribution = Distribution { allowed_v: &no_mask, temperature: 0.7, support: Some(&support) };

    let pass = TokenPass::new(model.network(), &batch, distribution, Keep::Graph);
    let early = pass.logprobs();
    let sum = pass.backward(Entropy::Value, |stats, range| {
        (&stats.logprob_c * weights_c.narrow(0, range.start, range.end - range.start)).sum(Kind::Float)
    });
    // The tower sees no image here and has no gradient.
    let copy = |grad: Tensor| if grad.defined() { grad.copy() } else { grad };
    let gradients: Vec<Tensor> =
        model.params().params().iter().map(|p| copy(model.params().grad(p))).collect();
    model.learned_mut().zero_grad();

    let hidden = model.network().forward(&batch).index_select(0, &batch.predictors_c);
    let all = (model.network().decoder.logits(&hidden) / 0.7 + mask_cv).log_softmax(-1, Kind::Float);
    let logprob_c = all.gather(1, &batch.targets_c.unsqueeze(1), false).squeeze_dim(1);
    let plain = (&logprob_c * &weights_c).sum(Kind::Float);
    plain.backward();

    assert!((sum - plain.double_value(&[])).abs() < 1e-2);
    let without = token_logprobs(model.network(), &batch, distribution);
    for logprobs in [without, early] {
        assert!((logprobs - logprob_c.detach()).abs().max().double_value(&[]) < 1e-5);
    }
    for (param, chunked) in model.params().params().iter().zip(&gradients) {
        let plain = model.params().grad(param);
        if !plain.defined() || !chunked.defined() {
            assert_eq!(plain.defined(), chunked.defined(), "{}", param.spec.name);
            continue;
        }
        let scale = plain.abs().max().double_value(&[]).max(1e-3);
        let diff = (plain - chunked).abs().max().double_value(&[]) / scale;
        assert!(diff < 1e-4, "{}: {diff}", param.spec.name);
    }
}
