//! Losses and their gradients, held against the code of TRL and verl on the same tensors
//! (`fixtures/golden/losses.json`, made by
//! `fixtures/generate/golden_losses.py`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use reft_config::GrpoPhase;
use reft_core::Seed;
use reft_grpo::{Objective, Terms, Tokens};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

fn golden() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/losses.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn phase(keys: &Value) -> GrpoPhase {
    let mut phase = json!({"name": "p", "data": "d", "steps": 1});
    for (key, value) in keys.as_object().unwrap() {
        phase[key] = value.clone();
    }
    serde_json::from_value(phase).unwrap()
}

fn max_diff(got: &Tensor, expected: &Value) -> f64 {
    (got - Tensor::from_slice(&numbers(expected))).abs().max().double_value(&[])
}

#[test]
fn values_and_gradients_are_those_of_the_references() {
    let golden = golden();
    let tensor = |name: &str| Tensor::from_slice(&numbers(&golden[name]));
    let lengths: Vec<usize> = numbers(&golden["lengths"]).iter().map(|&n| n as usize).collect();
    let per_token = |values: &[f64]| {
        let repeated = values.iter().zip(&lengths).flat_map(|(&v, &n)| std::iter::repeat_n(v, n));
        Tensor::from_slice(&repeated.collect::<Vec<_>>())
    };
    let (old_c, reference_c) = (tensor("old"), tensor("reference"));
    let advantage_c = per_token(&numbers(&golden["advantage"]));
    let length_c = per_token(&lengths.iter().map(|&n| n as f64).collect::<Vec<_>>());
    let total: usize = lengths.iter().sum();
    let completion_c = per_token(&[0.0, 1.0, 2.0, 3.0]).to_kind(Kind::Int64);

    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 19);
    for case in cases {
        let mut phase = phase(&case["phase"]);
        phase.sampling.max_new_tokens = golden["max_new_tokens"].as_u64().unwrap() as usize;
        let logprob_c = tensor("logprob").set_requires_grad(true);
        let entropy_c = tensor("entropy").set_requires_grad(true);
        let objective = Objective::new(&phase);
        let weights = objective.token_weights(&lengths);
        let mut tokens = Tokens {
            logprob_c: logprob_c.shallow_clone(),
            old_c: old_c.shallow_clone(),
            rollout_c: old_c.shallow_clone(),
            entropy_c: Some(entropy_c.shallow_clone()),
            advantage_c: advantage_c.shallow_clone(),
            length_c: length_c.shallow_clone(),
            completion_c: completion_c.shallow_clone(),
            group_c: completion_c.zeros_like(),
            prepared_c: None,
            seed: Seed::new(1),
        };
        tokens.prepared_c = no_grad(|| objective.policy().prepare(&tokens));
        let terms = Terms {
            weight_c: Tensor::from_slice(&weights).to_kind(Kind::Double),
            reference_c: phase.has_kl().then(|| reference_c.shallow_clone()),
            kl_weight_c: length_c.full_like(phase.kl_coef),
            entropy_c: entropy_c.shallow_clone(),
            share: 1.0 / total as f64,
            importance_c: None,
        };
        let loss = objective.sum(&tokens, &terms).sum;
        loss.backward();

        // Token weights are fp32.
        let name = &case["name"];
        let expected = case["loss"].as_f64().unwrap();
        assert!((loss.double_value(&[]) - expected).abs() < 1e-6, "{name}: {loss:?}, not {expected}");
        let diff = max_diff(&logprob_c.grad(), &case["by_logprob"]);
        assert!(diff < 1e-6, "{name}: gradient by log-probs differs by {diff}");
        let by_entropy = entropy_c.grad();
        let by_entropy = if by_entropy.defined() {
            by_entropy
        } else {
            Tensor::zeros([total as i64], (Kind::Double, Device::Cpu))
        };
        let diff = max_diff(&by_entropy, &case["by_entropy"]);
        assert!(diff < 1e-6, "{name}: gradient by entropies differs by {diff}");
    }
}
