//! `exact = true`: the trainer's log-probs are the rollout's to the last bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use reft_config::Shard;
use reft_core::{
    FinishReason, Group, Metrics, PolicyOptimizer as _, RewardParts, RolloutEngine, ScoredGroup, Seed,
    Verdict,
};
use reft_dist::{Group as Ranks, on_threads};
use reft_grpo::GrpoOptimizer;
use reft_rollout::{ExactEngine, GenerationEngine};
use reft_vlm::Vlm;
use serde_json::{Value, json};

use common::{groups, open, phase};

const G: usize = 6;

fn keys(sampling: &Value) -> Value {
    let mut keys = json!({"lr": 1e-3, "kl_coef": 0.1, "exact": true, "sampling": {"group_size": G, "max_new_tokens": 24}});
    for (key, value) in sampling.as_object().unwrap() {
        keys["sampling"][key] = value.clone();
    }
    keys
}

fn rollout(engine: &mut dyn RolloutEngine<Vlm>, model: &Vlm, keys: &Value) -> Vec<Group> {
    let samples: Vec<_> = groups().into_iter().map(|scored| scored.group.sample).collect();
    let sampling = phase(keys).sampling.params(Seed::new(4));
    engine.generate(model, &samples, &sampling, &mut |_, _| true).unwrap()
}

fn score(group: Group) -> ScoredGroup {
    ScoredGroup {
        rewards: (0..G).map(|m| RewardParts::single("accuracy", (m % 2) as f32)).collect(),
        advantages: (0..G).map(|m| (m % 2) as f32 - 0.5).collect(),
        group,
        verdict: Verdict::Admit,
    }
}

#[test]
fn the_first_update_sees_the_numbers_of_the_rollout() {
    let samplings = [json!({}), json!({"temperature": 0.7, "top_p": 0.9, "top_k": 50, "min_new_tokens": 3})];
    let (mut short, mut long) = (0, 0);
    for name in [
        "tiny-vlm",
        "qwen2-vl/model",
        "qwen3-vl/model",
        "qwen3_5/model",
        "smolvlm/model",
        "internvl-qwen3/model",
    ] {
        for sampling in &samplings {
            let keys = keys(sampling);
            let mut model = open(name);
            let mut optimizer = GrpoOptimizer::new(&phase(&keys), &model, Seed::new(0)).unwrap();
            // The second step has weights of which no one has ever seen a log-prob.
            for step in 0..2 {
                let groups = rollout(&mut ExactEngine, &model, &keys);
                let completions = || groups.iter().flat_map(|g| &g.completions);
                short += completions().filter(|c| c.finish == FinishReason::Stop).count();
                long += completions().filter(|c| c.finish == FinishReason::Length).count();
                let scored: Vec<ScoredGroup> = groups.into_iter().map(score).collect();
                let metrics = optimizer.update(&mut model, &scored).unwrap();
                let get = |key: &str| metrics.get(&format!("grpo/{key}")).unwrap();
                assert!(get("tokens") > 200.0 && get("grad_norm") > 0.0, "{metrics:?}");
                assert_eq!(
                    (
                        get("logprob_diff_max"),
                        get("logprob_diff_mean"),
                        get("ratio_outside"),
                        get("ratio_mean")
                    ),
                    (0.0, 0.0, 0.0, 1.0),
                    "{name} {sampling}"
                );
                assert!(step > 0 || get("kl") == 0.0, "the reference is the policy: {metrics:?}");
            }
        }
    }
    assert!(
        short > 10 && long > 10,
        "completions of a group should end at different lengths: {short}, {long}"
    );
}

/// The exact engine is a slower way to the same answers.
#[test]
fn both_engines_write_the_same() {
    let model = open("tiny-vlm");
    let keys = keys(&json!({}));
    let exact = rollout(&mut ExactEngine, &model, &keys);
    let usual = rollout(&mut GenerationEngine::default(), &model, &keys);
    for (exact, usual) in exact.iter().zip(&usual) {
        assert_eq!((&exact.sample, exact.prompt_tokens), (&usual.sample, usual.prompt_tokens));
        for (a, b) in exact.completions.iter().zip(&usual.completions) {
            assert_eq!((&a.token_ids, &a.text, a.finish), (&b.token_ids, &b.text, b.finish));
            assert!(a.logprobs.iter().zip(&b.logprobs).all(|(a, b)| (a - b).abs() < 3e-5));
        }
    }
    // A mixture of both is not exact, which shows that the comparison can fail.
    let scored: Vec<ScoredGroup> = usual.into_iter().map(score).collect();
    let mut model = open("tiny-vlm");
    let mut optimizer = GrpoOptimizer::new(&phase(&keys), &model, Seed::new(0)).unwrap();
    let metrics: Metrics = optimizer.update(&mut model, &scored).unwrap();
    let worst = metrics.get("grpo/logprob_diff_max").unwrap();
    assert!(worst > 0.0 && worst < 1e-4, "{worst}");
}

/// Gradients of groups are added in the order of the batch, whoever has passed them.
#[test]
fn ranks_have_the_bits_of_one() {
    tch::set_num_threads(1);
    for (name, more) in [
        ("tiny-vlm", json!({"updates_per_batch": 2})),
        ("qwen2-vl/model", json!({"loss": {"type": "kl_cov", "share": 0.2}})),
        ("qwen3-vl/model", json!({"gradient": {"type": "pcgrad", "between": "task"}})),
    ] {
        let mut keys = keys(&json!({}));
        for (key, value) in more.as_object().unwrap() {
            keys[key] = value.clone();
        }
        let scored: Vec<ScoredGroup> =
            rollout(&mut ExactEngine, &open(name), &keys).into_iter().map(score).collect();
        let train = |ranks: &Arc<Ranks>, shard: Shard| {
            let mut model = open(name);
            let optimizer = GrpoOptimizer::new(&phase(&keys), &model, Seed::new(0)).unwrap();
            let mut optimizer = optimizer.with_group(Arc::clone(ranks), shard);
            let metrics: Vec<Metrics> =
                (0..2).map(|_| optimizer.update(&mut model, &scored).unwrap()).collect();
            let weights: Vec<_> = model.params().buffers().values().map(tch::Tensor::copy).collect();
            (metrics, weights)
        };
        let (metrics, weights) = train(&Arc::default(), Shard::None);
        for (size, shard) in [(2, Shard::None), (3, Shard::Optimizer)] {
            let all = on_threads(size, Duration::from_secs(60), |ranks| train(ranks, shard)).unwrap();
            for (own_metrics, own_weights) in all {
                assert_eq!(own_metrics, metrics, "{name}, {size} ranks");
                let same = weights.iter().zip(&own_weights).all(|(one, other)| one.equal(other));
                assert!(same, "{name}, {size} ranks");
            }
        }
    }
}
