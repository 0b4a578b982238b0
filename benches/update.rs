//! Time of an update, the training half of a GRPO step, on the workloads of `workloads/mod.rs`: packing, KL reference,
//! loss, gradient and AdamW for 8 completions of 64 random tokens for each prompt.
//!
//! `cargo bench --bench update`.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]

#[path = "workloads/answers.rs"]
mod answers;
mod workloads;

use std::time::Duration;

use answers::answered;
use criterion::{Criterion, criterion_group, criterion_main};
use reft_config::GrpoPhase;
use reft_core::{PolicyOptimizer as _, ScoredGroup, Seed};
use reft_grpo::GrpoOptimizer;
use workloads::{WORKLOADS, open, samples};

fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for workload in &WORKLOADS {
        let mut model = open(workload, 0);
        let groups: Vec<ScoredGroup> =
            samples(workload, &model).into_iter().map(|sample| answered(sample, &model, 8, 64)).collect();
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

criterion_group!(benches, update);
criterion_main!(benches);
