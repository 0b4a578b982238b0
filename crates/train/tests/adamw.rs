//! AdamW on a model: its storage options learn, and a resume continues with the same bits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reft_config::{LrScale, MomentsConfig, OptimizerConfig, Shard, SmallWeights, TrainableConfig};
use reft_core::Seed;
use reft_dist::{Group, on_threads};
use reft_train::AdamW;
use reft_vlm::{Vlm, VlmOptions, checkpoint::read_tensors, model::PartOfModel};
use tch::{Kind, Tensor};

fn model(kind: Kind) -> Vlm {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/tiny-vlm");
    Vlm::open(&dir, VlmOptions { kind, ..VlmOptions::default() }).unwrap()
}

fn optimizer(config: &OptimizerConfig, model: &Vlm) -> AdamW {
    let mut optimizer = AdamW::new(config, TrainableConfig::default(), Seed::new(3));
    optimizer.begin(model).unwrap();
    optimizer
}

/// Mean squared distance of the weights from one half; its gradient is noisy, as gradients of batches are.
fn step(model: &mut Vlm, optimizer: &mut AdamW, step: u64, lr: f64) -> f64 {
    step_of(&Group::alone(), model, optimizer, step, lr)
}

/// [`step`], each rank with the loss of some parameters.
fn step_of(ranks: &Group, model: &mut Vlm, optimizer: &mut AdamW, step: u64, lr: f64) -> f64 {
    let mut loss = 0.0;
    let own = |i: &usize| i % ranks.size() == ranks.rank();
    for (i, param) in model.params().params().iter().enumerate().filter(|(i, _)| own(i)) {
        let n = param.spec.numel();
        let phase = (step * 31 + i as u64) as f64;
        let noise = (Tensor::arange(n, (Kind::Float, tch::Device::Cpu)) * 1.7 + phase).sin() * 0.2;
        let distance = model.params().value(param).to_kind(Kind::Float).flatten(0, -1) - 0.5;
        let part =
            (distance.square() / 2.0 + distance.detach().ones_like() * &noise * &distance).sum(Kind::Float);
        part.backward();
        loss += distance.square().sum(Kind::Double).double_value(&[]);
    }
    optimizer.sum_gradients(model).unwrap();
    assert!(optimizer.update(model, lr).unwrap().applied);
    loss / model.params().numel() as f64
}

const EVERY: [(Kind, MomentsConfig, SmallWeights); 6] = [
    (Kind::Float, MomentsConfig::Fp32, SmallWeights::Master),
    (Kind::Float, MomentsConfig::Int8, SmallWeights::Master),
    (Kind::BFloat16, MomentsConfig::Fp32, SmallWeights::Master),
    (Kind::BFloat16, MomentsConfig::Fp32, SmallWeights::Kahan),
    (Kind::BFloat16, MomentsConfig::Int8, SmallWeights::Kahan),
    (Kind::BFloat16, MomentsConfig::Int8, SmallWeights::Stochastic),
];

#[test]
fn every_way_to_store_state_learns_alike() {
    let mut in_fp32 = None;
    for (kind, moments, small_weights) in EVERY {
        let config =
            OptimizerConfig { moments, small_weights, max_grad_norm: 0.0, ..OptimizerConfig::default() };
        let mut model = model(kind);
        let mut optimizer = optimizer(&config, &model);
        let losses: Vec<f64> = (0..60).map(|i| step(&mut model, &mut optimizer, i, 2e-2)).collect();
        let (first, last) = (losses[0], losses[59]);
        let expected = *in_fp32.get_or_insert(last);
        assert!(first > 0.3 && last < 0.02, "{kind:?} {moments:?} {small_weights:?}: {first} to {last}");
        assert!(
            (last - expected).abs() < 0.003,
            "{kind:?} {moments:?} {small_weights:?}: {last}, not {expected}"
        );
    }
}

#[test]
fn a_resume_continues_with_the_same_bits() {
    let dir = std::env::temp_dir().join(format!("reft-adamw-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path: &Path = &dir.join("optimizer.safetensors");
    for (kind, moments, small_weights) in EVERY {
        let config = OptimizerConfig { moments, small_weights, ..OptimizerConfig::default() };
        let mut through = model(kind);
        let mut optimizer_through = optimizer(&config, &through);
        for i in 0..3 {
            step(&mut through, &mut optimizer_through, i, 1e-3);
        }
        optimizer_through.save(path, 3).unwrap();
        let mut resumed = model(kind);
        for (to, from) in resumed.params().buffers().values().zip(through.params().buffers().values()) {
            tch::no_grad(|| to.shallow_clone().copy_(from));
        }
        let mut optimizer_resumed = optimizer(&config, &resumed);
        assert_eq!(optimizer_resumed.load(path).unwrap(), 3);
        for i in 3..5 {
            step(&mut through, &mut optimizer_through, i, 1e-3);
            step(&mut resumed, &mut optimizer_resumed, i, 1e-3);
        }
        for (a, b) in resumed.params().buffers().values().zip(through.params().buffers().values()) {
            assert!(a.equal(b), "{kind:?} {moments:?} {small_weights:?}");
        }
    }

    // Another layout of state is refused by name.
    let model = model(Kind::Float);
    let mut other = optimizer(&OptimizerConfig::default(), &model);
    let error = other.load(path).unwrap_err().to_string();
    assert!(error.contains(".mean`; was `trainable`, `optimizer.moments`"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Ranks with a part of the state each learn as one that has all of it, and a checkpoint of theirs is one of his.
#[test]
fn ranks_divide_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = |steps: u64, size: usize| dir.path().join(format!("{steps}-of-{size}.safetensors"));
    let divided = |config: &OptimizerConfig, model: &Vlm, ranks: &Arc<Group>| {
        let optimizer = AdamW::new(config, TrainableConfig::default(), Seed::new(3));
        let mut optimizer = optimizer.with_group(Arc::clone(ranks), Shard::Optimizer);
        optimizer.begin(model).unwrap();
        optimizer
    };
    for (kind, moments, small_weights) in EVERY {
        let what = format!("{kind:?} {moments:?} {small_weights:?}");
        let config =
            OptimizerConfig { moments, small_weights, max_grad_norm: 1.0, ..OptimizerConfig::default() };
        let weights = |model: &Vlm| model.params().buffers().values().map(Tensor::copy).collect::<Vec<_>>();
        // Two steps by one rank, two or three, then two more by each of them from the checkpoint of each.
        let run = |ranks: &Arc<Group>| {
            let (rank, size) = (ranks.rank(), ranks.size());
            let mut trained = model(kind);
            let mut optimizer = divided(&config, &trained, ranks);
            for i in 0..2 {
                step_of(ranks, &mut trained, &mut optimizer, i, 1e-2);
            }
            if size > 1 {
                let error = optimizer.save(&path(2, size), 2).unwrap_err().to_string();
                assert!(error.contains("`gather` comes before"), "{error}");
            }
            optimizer.gather().unwrap();
            if rank == 0 {
                optimizer.save(&path(2, size), 2).unwrap();
            }
            ranks.barrier().unwrap();
            let after_two = weights(&trained);
            for from in [1, size] {
                let mut resumed = model(kind);
                for (to, from) in resumed.params().buffers().values().zip(&after_two) {
                    tch::no_grad(|| to.shallow_clone().copy_(from));
                }
                let mut optimizer = divided(&config, &resumed, ranks);
                assert_eq!(optimizer.load(&path(2, from)).unwrap(), 2);
                for i in 2..4 {
                    step_of(ranks, &mut resumed, &mut optimizer, i, 1e-2);
                }
                optimizer.gather().unwrap();
                if rank == 0 {
                    optimizer.save(&path(4, size), 4).unwrap();
                }
                trained = resumed;
            }
            (after_two, weights(&trained))
        };
        let alone = run(&Arc::default());
        for size in [2, 3] {
            let all = on_threads(size, Duration::from_secs(60), |ranks| run(ranks)).unwrap();
            for (after_two, after_four) in &all {
                assert!(after_two.iter().zip(&alone.0).all(|(a, b)| a.equal(b)), "{what}, {size} ranks");
                assert!(after_four.iter().zip(&alone.1).all(|(a, b)| a.equal(b)), "{what}, {size} ranks");
            }
            for steps in [2, 4] {
                let read = |size| read_tensors(&path(steps, size)).unwrap();
                let (one, other) = (read(1), read(size));
                assert_eq!(one.len(), other.len());
                assert!(one.iter().all(|(name, x)| x.equal(&other[name])), "{what}, {size} ranks");
            }
        }
    }
}

#[test]
fn parts_have_learning_rates_of_their_own() {
    let lr_scale = LrScale { vision_tower: 0.0, merger: 0.5, decoder: 2.0 };
    let config = OptimizerConfig { lr_scale, max_grad_norm: 0.0, ..OptimizerConfig::default() };
    let mut model = model(Kind::Float);
    let mut optimizer = optimizer(&config, &model);
    let before: Vec<Tensor> = model.params().params().iter().map(|p| p.tensor.copy()).collect();
    for param in model.params().params() {
        model.params().value(param).sum(Kind::Float).backward();
    }
    optimizer.update(&mut model, 1e-3).unwrap();
    for (param, before) in model.params().params().iter().zip(before) {
        // The first update of a constant gradient is the learning rate itself.
        let expected = match param.buffer.part {
            PartOfModel::VisionTower => 0.0,
            PartOfModel::Merger => 0.5e-3,
            PartOfModel::Decoder => 2e-3,
        };
        let moved = (before - &param.tensor).abs().max().double_value(&[]);
        assert!((moved - expected).abs() < 1e-6, "{}: {moved}", param.spec.name);
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let mut model = model(Kind::Float);
    let mut optimizer = optimizer(&OptimizerConfig::default(), &model);
    let before: Vec<Tensor> = model.params().buffers().values().map(Tensor::copy).collect();
    let first = model.params().value(&model.params().params()[0]);
    (first.sum(Kind::Float) * f64::NAN).backward();
    let stats = optimizer.update(&mut model, 1e-3).unwrap();
    assert!(!stats.applied && stats.grad_norm.is_nan());
    for (now, before) in model.params().buffers().values().zip(&before) {
        assert!(now.equal(before));
    }
    // The gradient is forgotten: the next update is a good one.
    step(&mut model, &mut optimizer, 0, 1e-3);
}
