//! Run directories for tests, written by the store as a run writes them.

use std::{path::Path, sync::Arc};

use reft_core::{
    Completion, Form, GradedGroup, Group, Metrics, Recorder as _, RewardParts, RunStore as _, Sample,
    ScoredGroup, Task, Verdict,
};
use reft_store::{RunDir, RunInfo};
use reft_testkit::{TablePolicy, sums};
use serde_json::json;

use crate::study::VALIDATION;

/// A run that evaluates and trains in turn.
pub(crate) struct FakeRun<'a> {
    /// The name of its folder.
    pub(crate) name: &'a str,
    /// Name of each training phase, and texts of the answers of each of its steps.
    pub(crate) training: &'a [(&'a str, &'a [&'a [&'a str]])],
    /// Name of each evaluation, after which of the training phases it comes, and which of the six questions are right.
    pub(crate) evaluations: &'a [(&'a str, usize, [u8; 6])],
    /// Whether it is finished.
    pub(crate) finished: bool,
}

impl FakeRun<'_> {
    /// Writes it into a folder of runs.
    pub(crate) fn write(&self, runs: &Path) {
        let mut phases = Vec::new();
        for n_trained in 0..=self.training.len() {
            let here = self.evaluations.iter().filter(|(_, after, _)| *after == n_trained);
            phases.extend(here.map(|(name, ..)| (*name).to_owned()));
            phases.extend(self.training.get(n_trained).map(|(name, _)| (*name).to_owned()));
        }
        let info = RunInfo::new(self.name, phases);
        let mut run = RunDir::create(&runs.join(self.name), &info, "# a recipe").unwrap();
        for (phase, steps) in self.training {
            for (step, texts) in (1..).zip(*steps) {
                let mut metrics = Metrics::new();
                // Half of the tokens are trained on; each answer has ten.
                metrics.set("grpo/tokens", 5.0 * texts.len() as f64);
                run.step(phase, step, &metrics).unwrap();
                run.groups(phase, step, &[scored(texts)]).unwrap();
            }
        }
        for (phase, _, right) in self.evaluations {
            for benchmark in ["id", "ood", VALIDATION] {
                let share = right.iter().map(|&grade| f64::from(grade)).sum::<f64>() / 6.0;
                let report = json!({"overall": {"accuracy": share}});
                run.save_report(phase, benchmark, &graded(benchmark, *right), &report).unwrap();
            }
        }
        if self.finished {
            run.finish(&TablePolicy::new()).unwrap();
        }
    }
}

/// Six questions of two tasks.
fn questions(benchmark: &str) -> Vec<Arc<Sample>> {
    let tasks = [Task::Detection, Task::Math];
    let samples = sums(6).into_iter().enumerate().map(|(i, sample)| {
        let id = format!("{benchmark}-{i}").into();
        Arc::new(Sample { id, task: tasks[i % 2], form: Form::Open, ..(*sample).clone() })
    });
    samples.collect()
}

fn group(sample: Arc<Sample>, texts: &[&str]) -> Group {
    let completion = |text: &&str| Completion {
        token_ids: vec![7; 10],
        logprobs: vec![-0.5; 10],
        ..Completion::from_text(*text)
    };
    let completions = texts.iter().map(completion).collect();
    Group { sample, prompt_tokens: 3, completions, policy_version: None, temperature: None }
}

fn graded(benchmark: &str, right: [u8; 6]) -> Vec<GradedGroup> {
    let graded = questions(benchmark).into_iter().zip(right).map(|(sample, grade)| GradedGroup {
        group: group(sample, &["<think>x</think><answer>1</answer>"]),
        marks: vec![f32::from(grade).into()],
    });
    graded.collect()
}

fn scored(texts: &[&str]) -> ScoredGroup {
    ScoredGroup {
        group: group(questions("train").remove(0), texts),
        rewards: texts.iter().map(|_| RewardParts::single("accuracy", 1.0)).collect(),
        advantages: vec![0.0; texts.len()],
        verdict: Verdict::Admit,
    }
}
