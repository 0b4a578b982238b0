//! Fine-tuning that ranks share, as threads with a model each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use reft_config::{SftPhase, Shard};
use reft_core::{Demonstration, Seed, SupervisedTrainer as _};
use reft_dist::{Group, on_threads};
use reft_testkit::{demonstration, sums};
use reft_train::{SftTrainer, ranks::shared_budget};
use reft_vlm::{Vlm, VlmOptions};
use serde_json::{Value, json};
use tch::Tensor;

const TIMEOUT: Duration = Duration::from_secs(60);

fn demonstrations() -> Vec<Demonstration> {
    let of = |(i, sample)| {
        let mut one = demonstration(sample);
        one.completion.push_str(&"right ".repeat(i));
        one
    };
    sums(5).iter().enumerate().map(of).collect()
}

/// Loss of two steps, and the weights behind them.
fn train(keys: &Value, group: Arc<Group>, shard: Shard) -> (Vec<f64>, Vec<Tensor>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/tiny-vlm");
    let mut model = Vlm::open(&dir, VlmOptions::default()).unwrap();
    let mut phase = json!({"name": "sft", "data": ["x"], "steps": 2, "batch_size": 5, "lr": 0.01});
    phase["optimizer"] = json!({"eps": 1.0, "schedule": "constant"});
    for (key, value) in keys.as_object().unwrap() {
        phase[key] = value.clone();
    }
    let phase: SftPhase = serde_json::from_value(phase).unwrap();
    let mut trainer = SftTrainer::new(&phase, Seed::new(3)).with_group(group, shard);
    let losses = (0..2).map(|_| {
        let metrics = trainer.update(&mut model, &demonstrations()).unwrap();
        metrics.get("sft/loss").unwrap() + metrics.get("sft/token_accuracy").unwrap()
    });
    let losses = losses.collect();
    (losses, model.params().params().iter().map(|param| param.tensor.detach().copy()).collect())
}

#[test]
fn ranks_share_a_step_of_fine_tuning() {
    for (size, keys, shard) in [
        (2, json!({}), Shard::None),
        (3, json!({"micro_batch_tokens": 1}), Shard::Optimizer),
        (7, json!({"recompute": true}), Shard::Optimizer),
    ] {
        let (losses, weights) = train(&keys, Arc::default(), Shard::None);
        let all = on_threads(size, TIMEOUT, |group| train(&keys, Arc::clone(group), shard)).unwrap();
        for (own_losses, own) in &all {
            for (x, y) in losses.iter().zip(own_losses) {
                assert!((x - y).abs() < 1e-5, "{size} ranks: {x} and {y}");
            }
            assert!(own.iter().zip(&all[0].1).all(|(a, b)| a.equal(b)), "{size} ranks have equal bits");
            for (one, other) in weights.iter().zip(own) {
                let gap = (one - other).abs().max().double_value(&[]);
                // Two steps of 0.01 in fp32, summed in another order.
                assert!(gap < 1e-6, "{size} ranks: {gap}");
            }
        }
    }
}

#[test]
fn a_batch_has_a_micro_batch_for_each_rank() {
    assert_eq!(shared_budget(0, 100, 1), 0);
    assert_eq!(shared_budget(30, 100, 1), 30);
    assert_eq!(shared_budget(0, 100, 3), 34);
    assert_eq!(shared_budget(30, 100, 3), 30);
    assert_eq!(shared_budget(50, 100, 3), 34);
}
