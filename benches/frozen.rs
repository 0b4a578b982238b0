//! Rollout and update on W2 (`workloads/mod.rs`) with a tower and a merger that do not learn, with and without keeping
//! image features: what a step costs when its pictures have been seen before.
//!
//! `cargo bench --bench frozen`.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]

#[path = "workloads/answers.rs"]
mod answers;
mod workloads;

use std::time::Duration;

use answers::answered;
use criterion::{Criterion, criterion_group, criterion_main};
use reft_config::GrpoPhase;
use reft_core::{PolicyOptimizer as _, RolloutEngine as _, SamplingParams, ScoredGroup, Seed};
use reft_grpo::GrpoOptimizer;
use reft_rollout::GenerationEngine;
use workloads::{WORKLOADS, open, samples};

fn frozen(criterion: &mut Criterion) {
    let workload = &WORKLOADS[1];
    let mut group = criterion.benchmark_group(format!("frozen, {}", workload.name));
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    for (name, feature_memory) in [("encoded anew", 0), ("kept", 256 << 20)] {
        let mut model = open(workload, feature_memory);
        let samples = samples(workload, &model);
        let params = SamplingParams { group_size: 8, seed: Seed::new(1), ..SamplingParams::plain(1) };
        group.bench_function(format!("prompt and first token, {name}"), |bencher| {
            bencher.iter(|| {
                GenerationEngine::default().generate(&model, &samples, &params, &mut |_, _| true).unwrap()
            });
        });
        let groups: Vec<ScoredGroup> =
            samples.into_iter().map(|sample| answered(sample, &model, 8, 64)).collect();
        let phase: GrpoPhase = serde_json::from_value(serde_json::json!({
            "name": "bench", "data": "none", "steps": 1_000_000,
            "trainable": {"vision_tower": false, "merger": false},
        }))
        .unwrap();
        let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(1)).unwrap();
        group.bench_function(format!("update, {name}"), |bencher| {
            bencher.iter(|| optimizer.update(&mut model, &groups).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, frozen);
criterion_main!(benches);
