//! Time of an update, the training half of a GRPO step, on the workloads of `workloads/mod.rs`: packing, KL reference,
//! loss, gradient and AdamW for 8 completions of 64 random tokens for each prompt.
//!
//! `cargo bench --bench update`.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]

mod workloads;

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use rand::Rng as _;
use reft_config::GrpoPhase;
use reft_core::{
    Completion, FinishReason, Group, PolicyOptimizer as _, RewardParts, Sample, ScoredGroup, Seed, Verdict,
};
use reft_grpo::GrpoOptimizer;
use reft_vlm::Vlm;
use workloads::{WORKLOADS, open, samples};

fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for workload in &WORKLOADS {
        let mut model = open(workload);
        let groups: Vec<ScoredGroup> =
            samples(workload, &model).into_iter().map(|sample| answered(sample, &model)).collect();
        let phase: GrpoPhase =
            serde_json::from_value(serde_json::json!({"name": "bench", "data": "none", "steps": 1_000_000}))
                .unwrap();
        let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(1)).unwrap();
        group.bench_function(workload.name, |bencher| {
            bencher.iter(|| optimizer.update(&mut model, &groups).unwrap());
        });
    }
    group.finish();
}

/// 8 answers of 64 random tokens, half of them better than the others.
fn answered(sample: Arc<Sample>, model: &Vlm) -> ScoredGroup {
    let control = model.processor().control_token_ids();
    let mut rng = Seed::new(2).at(&sample.id.to_string()[..]).rng();
    let tokens: Vec<i64> =
        (0..model.processor().tokenizer().vocab_size() as i64).filter(|id| !control.contains(id)).collect();
    let logprob = -(tokens.len() as f32).ln();
    let completions: Vec<Completion> = (0..8)
        .map(|_| Completion {
            text: String::new(),
            token_ids: (0..64).map(|_| tokens[rng.random_range(0..tokens.len())]).collect(),
            logprobs: vec![logprob; 64],
            finish: FinishReason::Length,
            support: None,
        })
        .collect();
    let rewards = vec![RewardParts::default(); completions.len()];
    let advantages = (0..completions.len()).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let prompt_tokens = model.processor().count_prompt_tokens(&sample.messages).unwrap();
    let group = Group { sample, prompt_tokens, completions, policy_version: 0 };
    ScoredGroup { group, rewards, advantages, verdict: Verdict::Admit }
}

criterion_group!(benches, update);
criterion_main!(benches);
