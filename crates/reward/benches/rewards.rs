//! Scoring speed of the paper's reward: 10,000 completions of about 300 tokens (1,200 characters), a third each of
//! mathematics, detection and classification, on all cores as the training loop scores them.
//!
//! `cargo bench -p reft-reward`.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]

use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reft_config::RewardConfig;
use reft_core::{BoxFrame, Completion, Form, Reward as _, Sample, Task};
use reft_reward::Rubric;

const COMPLETIONS: usize = 10_000;

/// Solutions with answers that are right, right in other words, and wrong.
const CASES: [(Task, &str, [&str; 3]); 6] = [
    (Task::Math, r"\frac{3}{2}", ["1.5", r"\dfrac{6}{4}", "3/4"]),
    (Task::Math, r"x^2+3x+2", ["(x+1)(x+2)", r"x^2 + 3x + 2", "x^2+2"]),
    (Task::Math, r"\sqrt{12}+\frac{\pi}{4}", [r"2\sqrt{3}+\pi/4", r"\frac{8\sqrt{3}+\pi}{4}", r"\sqrt{12}"]),
    (Task::Math, "1234", ["1,234", "1234.0", "1243"]),
    (
        Task::Detection,
        r#"{"bbox_2d": [10, 20, 110, 220]}"#,
        [
            r#"{"bbox_2d": [12, 21, 108, 219]}"#,
            "```json\n[{\"bbox_2d\": [10, 20, 110, 220]}]\n```",
            "[0, 0, 5, 5]",
        ],
    ),
    (Task::Classification, "cat, dog, horse", ["dog, cat, horse", "Cat and dog", "bird"]),
];

fn work() -> Vec<(Sample, Completion)> {
    let thinking = "First the picture shows two shapes, and 3 + 4 = 7 of them are small. ".repeat(17);
    (0..COMPLETIONS)
        .map(|n| {
            let (task, solution, answers) = CASES[n % CASES.len()];
            let sample = Sample {
                id: n.to_string().into(),
                task,
                form: Form::Open,
                problem: String::new(),
                messages: Vec::new(),
                solution: solution.to_owned(),
                box_frame: BoxFrame::Original,
                parent: None,
            };
            let answer = answers[n / CASES.len() % answers.len()];
            (sample, Completion::from_text(format!("<think>{thinking}</think><answer>{answer}</answer>")))
        })
        .collect()
}

fn score_all(rubric: &Rubric, work: &[(Sample, Completion)]) -> f32 {
    let share = work.len().div_ceil(thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| {
        let parts: Vec<_> = work
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().map(|(s, c)| rubric.score(s, c).unwrap()).sum::<f32>()))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    })
}

fn rewards(criterion: &mut Criterion) {
    let rubric = Rubric::paper(&RewardConfig::default(), None);
    let work = work();
    let mut group = criterion.benchmark_group("rewards");
    group.sample_size(20).throughput(Throughput::Elements(COMPLETIONS as u64));
    group.bench_function("10,000 completions of 300 tokens", |bencher| {
        bencher.iter(|| score_all(&rubric, &work));
    });
    group.finish();
}

criterion_group!(benches, rewards);
criterion_main!(benches);
