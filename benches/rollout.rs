//! Rollout throughput in tokens per second on the workloads of `workloads/mod.rs`, 8 completions of at most 64 new
//! tokens for each prompt.
//!
//! `cargo bench --bench rollout`. Completions end where they end, so tokens are counted, not assumed.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]

mod workloads;

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reft_core::{Group, RolloutEngine as _, Sample, SamplingParams, Seed};
use reft_rollout::GenerationEngine;
use reft_vlm::Vlm;
use workloads::{WORKLOADS, open, samples};

fn generate(model: &Vlm, samples: &[Arc<Sample>]) -> Vec<Group> {
    let params = SamplingParams { group_size: 8, seed: Seed::new(1), ..SamplingParams::plain(64) };
    GenerationEngine::default().generate(model, samples, &params, &mut |_, _| true).unwrap()
}

fn rollout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rollout");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for workload in &WORKLOADS {
        let model = open(workload, 0);
        let samples = samples(workload, &model);
        let tokens: usize =
            generate(&model, &samples).iter().flat_map(|g| &g.completions).map(|c| c.token_ids.len()).sum();
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(workload.name, |bencher| bencher.iter(|| generate(&model, &samples)));
    }
    group.finish();
}

criterion_group!(benches, rollout);
criterion_main!(benches);
