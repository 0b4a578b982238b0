//! What surrounds the gradient of a step: references, KL in rewards, updates that are not finite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use reft_core::{
    AdvantageEstimator, Checkpointed as _, Metrics, PolicyOptimizer as _, ScoredGroup, Seed, StageError,
};
use reft_grpo::{GroupDiagnosis, GrpoOptimizer, Known, Objective, PassOptions, diagnose};
use reft_train::token_logprobs;
use reft_vlm::{Vlm, model::Distribution};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use common::{groups, open, phase, questions};

fn optimizer(keys: &Value, model: &Vlm) -> GrpoOptimizer {
    GrpoOptimizer::new(&phase(keys), model, Seed::new(1)).unwrap()
}

fn get(metrics: &Metrics, name: &str) -> f64 {
    metrics.get(&format!("grpo/{name}")).unwrap()
}

/// One step of a phase, then one of the next.
fn kl_of_the_next_phase(reference: &Value) -> f64 {
    let mut model = open("tiny-vlm");
    let keys = json!({"lr": 1e-3, "kl_coef": 0.1, "reference": reference});
    let mut optimizer = optimizer(&keys, &model);
    optimizer.update(&mut model, &groups()).unwrap();
    optimizer.begin_phase(&model).unwrap();
    get(&optimizer.update(&mut model, &groups()).unwrap(), "kl")
}

#[test]
fn a_reference_is_of_its_phase_or_of_the_run() {
    assert!(kl_of_the_next_phase(&json!({"type": "phase"})).abs() < 1e-6);
    assert!(kl_of_the_next_phase(&json!({"type": "run"})) > 1e-4);
    assert_eq!(kl_of_the_next_phase(&json!({"type": "none"})), 0.0);
}

#[test]
fn a_moving_reference_follows_the_policy_and_is_restored() {
    let dir = std::env::temp_dir().join(format!("reft-grpo-reference-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let kl = |mixup: f64| {
        let mut model = open("tiny-vlm");
        let keys =
            json!({"lr": 1e-3, "kl_coef": 0.1, "reference": {"type": "ema", "mixup": mixup, "every": 2}});
        let mut first = optimizer(&keys, &model);
        let kls: Vec<f64> =
            (0..3).map(|_| get(&first.update(&mut model, &groups()).unwrap(), "kl")).collect();
        // The fourth step, by the optimizer and by one that was restored, has the same divergence.
        first.save(&dir).unwrap();
        let mut second = optimizer(&keys, &model);
        let error = second.load(&dir).unwrap_err().to_string();
        assert!(error.contains("begin_phase"), "{error}");
        second.begin_phase(&model).unwrap();
        second.load(&dir).unwrap();
        let policy: Vec<Tensor> = model.params().buffers().values().map(Tensor::copy).collect();
        let by_first = first.update(&mut model, &groups()).unwrap();
        for (now, before) in model.params().buffers().values().zip(&policy) {
            tch::no_grad(|| now.shallow_clone().copy_(before));
        }
        let by_second = second.update(&mut model, &groups()).unwrap();
        assert_eq!(by_first, by_second);
        kls
    };
    let (copied, frozen) = (kl(1.0), kl(1e-9));
    // After two steps the reference is the policy, or still where it was.
    assert!(copied[1] > 1e-6 && copied[2].abs() < 1e-6, "{copied:?}");
    assert!(frozen[2] > frozen[1] && (frozen[1] - copied[1]).abs() < 1e-9, "{frozen:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

struct Shown;

impl AdvantageEstimator for Shown {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        rewards.to_vec()
    }
}

/// With a reference that is the policy, and rollout log-probs of -1, -1.1, ..., the penalties are known by hand.
#[test]
fn a_penalty_in_the_reward_is_taken_off_per_completion_or_per_token() {
    let mut group = groups().remove(1);
    // Rewards 0 and 1, 4 and 6 tokens.
    group.advantages = vec![0.0, 1.0];
    let loss = |keys: Value, weight_of_policy: &dyn Fn(usize, usize, f64) -> f64| {
        let mut model = open("tiny-vlm");
        let mut keys = keys;
        keys["loss"] = json!({"type": "reinforce"});
        keys["kl_coef"] = json!(0.5);
        let prompt = model.encode(&questions()[1].0).unwrap();
        let answers = questions().remove(1).1;
        let batch = model.pack(&[(&prompt, answers.iter().map(Vec::as_slice).collect())]);
        let logprobs = token_logprobs(model.network(), &batch, Distribution::whole(model.allowed_tokens()));
        let logprobs: Vec<f64> = logprobs.to_kind(Kind::Double).try_into().unwrap();
        let mut rest = logprobs.iter();
        let mut expected = 0.0;
        for (m, answer) in answers.iter().enumerate() {
            let own: Vec<f64> = rest.by_ref().take(answer.len()).copied().collect();
            // k1: log p_rollout - log p_ref.
            let kl: Vec<f64> = own.iter().enumerate().map(|(t, p)| (-1.0 - 0.1 * t as f64) - p).collect();
            for (t, p) in own.iter().enumerate() {
                let (all, ahead) = (kl.iter().sum::<f64>(), kl[t..].iter().sum::<f64>());
                expected -= weight_of_policy(m, t, if keys["kl"]["place"] == "reward" { all } else { ahead })
                    * p
                    / 2.0;
            }
        }
        let mut optimizer = optimizer(&keys, &model);
        let shown: Arc<dyn AdvantageEstimator> = Arc::new(Shown);
        optimizer.share_advantage(&shown);
        let metrics = optimizer.update(&mut model, std::slice::from_ref(&group)).unwrap();
        let found = get(&metrics, "loss");
        assert!((found - expected).abs() < 1e-3 * expected.abs(), "{keys}: {found}, not {expected}");
    };
    let advantage = |m: usize, _: usize, kl: f64| m as f64 - 0.5 * kl;
    loss(json!({"kl": {"estimator": "k1", "place": "reward"}}), &advantage);
    loss(json!({"kl": {"estimator": "k1", "place": "token_reward"}}), &advantage);

    let mut model = open("tiny-vlm");
    let keys = json!({"kl": {"place": "reward"}});
    let error = optimizer(&keys, &model).update(&mut model, &groups()).unwrap_err().to_string();
    assert!(error.contains("share_advantage"), "{error}");
}

fn found(optimizer: &mut GrpoOptimizer, model: &mut Vlm, batch: &[ScoredGroup]) -> Vec<GroupDiagnosis> {
    let weights: Vec<Tensor> = model.params().buffers().values().map(Tensor::copy).collect();
    let error = optimizer.update(model, batch).unwrap_err();
    assert!(matches!(error, StageError::NonFinite { .. }), "{error}");
    for (now, before) in model.params().buffers().values().zip(&weights) {
        assert!(now.allclose(before, 0.0, 0.0, true), "weights stay");
    }
    let diagnosis = optimizer.diagnose(model, batch).unwrap();
    serde_json::from_value(diagnosis["groups"].clone()).unwrap()
}

#[test]
fn what_is_not_finite_is_left_out_and_found() {
    for recompute in [false, true] {
        let keys = json!({"lr": 1e-3, "kl_coef": 0.1, "recompute": recompute});
        let mut model = open("tiny-vlm");
        let mut optimizer = optimizer(&keys, &model);
        let mut batch = groups();
        batch[1].advantages[0] = f32::NAN;
        let diagnosis = found(&mut optimizer, &mut model, &batch);
        let first = |i: usize| diagnosis[i].first.clone().unwrap_or_default();
        assert!(first(1).starts_with("advantages"), "{diagnosis:?}");
        assert!(first(0).is_empty() && first(2).is_empty(), "{diagnosis:?}");
        assert!(diagnosis[0].grad_norm.is_some_and(|norm| norm > 0.0) && diagnosis[1].loss.is_none());
        // A replay needs no reference, and finds the same.
        let known = diagnosis.iter().map(|group| Known { reference: group.reference.clone(), old: None });
        let known: Vec<Known> = known.collect();
        let admitted: Vec<&ScoredGroup> = batch.iter().collect();
        let (objective, options) = (Objective::new(&phase(&keys)), PassOptions::new(&phase(&keys)));
        let again = diagnose(&objective, options, &mut model, &admitted, &known, 0.1).unwrap();
        assert_eq!(again, diagnosis);
        // The next batch is trained on as if nothing had been.
        let metrics = optimizer.update(&mut model, &groups()).unwrap();
        assert!(get(&metrics, "grad_norm").is_finite());
    }
}

#[test]
fn the_layer_that_overflows_is_named() {
    let mut model = open("tiny-vlm");
    let mut optimizer = optimizer(&json!({"lr": 1e-3, "kl_coef": 0.0}), &model);
    let weight = |model: &Vlm, name: &str, value: f64| {
        let param = model.params().params().iter().find(|p| p.spec.name == name).unwrap();
        tch::no_grad(|| {
            let _ = param.tensor.shallow_clone().fill_(value);
        });
    };
    weight(&model, "model.layers.1.mlp.down_proj.weight", 3e38);
    let diagnosis = found(&mut optimizer, &mut model, &groups());
    assert_eq!(diagnosis[0].first.as_deref(), Some("hidden states behind layer 1"));
    weight(&model, "model.layers.1.mlp.down_proj.weight", f64::NAN);
    let diagnosis = found(&mut optimizer, &mut model, &groups());
    assert_eq!(diagnosis[1].first.as_deref(), Some("weight `model.layers.1.mlp.down_proj.weight`"));
}

/// Learning rate, KL weight and a moving reference follow the steps of the phase: those that were made, left out or had no
/// groups alike.
#[test]
fn every_step_counts() {
    let keys = json!({"lr": 1e-3, "kl_coef": 0.1, "kl": {"schedule": {"type": "grpo_d", "min": 0.01}},
        "reference": {"type": "ema", "mixup": 1.0, "every": 2}});
    let course = |second: &dyn Fn(&mut GrpoOptimizer, &mut Vlm)| {
        let mut model = open("tiny-vlm");
        let mut optimizer = optimizer(&keys, &model);
        optimizer.update(&mut model, &groups()).unwrap();
        second(&mut optimizer, &mut model);
        let metrics = optimizer.update(&mut model, &groups()).unwrap();
        // The reference has become the policy after the second step.
        assert!(get(&metrics, "kl").abs() < 1e-6, "{metrics:?}");
        (get(&metrics, "lr"), get(&metrics, "kl_weight"))
    };
    let made = course(&|optimizer, model| drop(optimizer.update(model, &groups()).unwrap()));
    let passed = course(&|optimizer, model| optimizer.pass_step(model));
    let left_out = course(&|optimizer, model| {
        let mut batch = groups();
        batch[0].advantages[0] = f32::INFINITY;
        assert!(optimizer.update(model, &batch).is_err());
    });
    assert_eq!((made, made), (passed, left_out));
}

/// A second update that is not finite says that the first was made; its diagnosis has what a replay needs.
#[test]
fn a_later_update_that_is_not_finite() {
    let mut model = open("tiny-vlm");
    let keys =
        json!({"lr": 1e30, "kl_coef": 0.0, "updates_per_batch": 3, "optimizer": {"schedule": "constant"}});
    let mut optimizer = optimizer(&keys, &model);
    let error = optimizer.update(&mut model, &groups()).unwrap_err();
    assert!(matches!(error, StageError::NonFinite { applied: 1, .. }), "{error}");
    assert!(error.to_string().contains("the first update of its batch was made"), "{error}");
    let diagnosis = optimizer.diagnose(&mut model, &groups()).unwrap();
    let diagnosis: Vec<GroupDiagnosis> = serde_json::from_value(diagnosis["groups"].clone()).unwrap();
    let lengths =
        |group: &GroupDiagnosis| -> Vec<usize> { group.old.as_ref().unwrap().iter().map(Vec::len).collect() };
    assert_eq!(diagnosis.iter().map(lengths).collect::<Vec<_>>(), [vec![5, 1, 8], vec![4, 6], vec![7, 2]]);
    assert!(diagnosis.iter().all(|group| group.first.is_some()), "{diagnosis:?}");
    let known: Vec<Known> =
        diagnosis.iter().map(|group| Known { reference: None, old: group.old.clone() }).collect();
    let (objective, options) = (Objective::new(&phase(&keys)), PassOptions::new(&phase(&keys)));
    let batch = groups();
    let admitted: Vec<&ScoredGroup> = batch.iter().collect();
    assert_eq!(diagnose(&objective, options, &mut model, &admitted, &known, 0.0).unwrap(), diagnosis);
}

/// The diagnosis has the reference that the update saw, also where that has moved when the step ended.
#[test]
fn a_left_out_update_is_diagnosed_with_the_reference_it_saw() {
    let reference = |follows: Value| {
        let mut model = open("tiny-vlm");
        let keys = json!({"lr": 1e-2, "kl_coef": 0.1, "reference": follows});
        let mut optimizer = optimizer(&keys, &model);
        optimizer.update(&mut model, &groups()).unwrap();
        let mut batch = groups();
        batch[1].advantages[0] = f32::NAN;
        let diagnosis = found(&mut optimizer, &mut model, &batch);
        diagnosis.into_iter().map(|group| group.reference.unwrap()).collect::<Vec<_>>()
    };
    // The moving one becomes the policy at the end of the second step, the one that is left out.
    let moving = reference(json!({"type": "ema", "mixup": 1.0, "every": 2}));
    assert_eq!(moving, reference(json!({"type": "phase"})));
}
