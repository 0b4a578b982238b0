//! Evaluation while a phase trains. That kills and Ctrl-C change nothing is tested with the whole toy run, two of whose
//! phases evaluate and keep their best policy.

use std::{collections::BTreeMap, path::Path};

use reft_core::{Checkpointed, Metrics, PolicyOptimizer, ScoredGroup, StageError};
use reft_pipeline::{Observer, Phase, Stages, Validation};
use reft_store::RunReader;
use reft_testkit::{TablePolicy, ToyGrpo};

use crate::toy;

/// Learns as the toy's optimizer does until `good`, then the opposite.
struct Spoils {
    inner: ToyGrpo,
    steps: u64,
    good: u64,
}

impl Checkpointed for Spoils {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.inner.save(dir)
    }
    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.inner.load(dir)
    }
}

impl PolicyOptimizer<TablePolicy> for Spoils {
    fn begin_phase(&mut self, policy: &TablePolicy) -> Result<(), StageError> {
        self.inner.begin_phase(policy)
    }

    fn update(&mut self, policy: &mut TablePolicy, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        self.steps += 1;
        if self.steps <= self.good {
            return self.inner.update(policy, groups);
        }
        let mut spoilt = groups.to_vec();
        for advantage in spoilt.iter_mut().flat_map(|group| &mut group.advantages) {
            *advantage = -*advantage;
        }
        self.inner.update(policy, &spoilt)
    }
}

/// Every accuracy that was told, by step.
#[derive(Default)]
struct Told {
    scores: BTreeMap<u64, Vec<f64>>,
    messages: Vec<String>,
}

impl Observer for Told {
    fn validated(&mut self, _phase: &str, step: u64, _benchmark: &str, accuracy: f64) {
        self.scores.entry(step).or_default().push(accuracy);
    }

    fn message(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }
}

fn spoilt(steps: u64, validation: impl Fn() -> Validation<TablePolicy> + 'static) -> toy::Phases {
    vec![Phase::new("spoilt", move |_, _| {
        let mut stages = toy::rl_stages("open", steps);
        stages.optimizer = Box::new(Spoils { inner: ToyGrpo::new(2.0, 0.01), steps: 0, good: 20 });
        stages.filters.clear();
        stages.validation = Some(validation());
        Ok(Stages::Rl(stages))
    })]
}

fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

#[test]
fn a_phase_ends_early_with_its_best_policy() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut told = Told::default();
    let (outcome, policy) = toy::run(&root, spoilt(200, || toy::validation(5, 3)), &mut told);
    outcome.unwrap();

    let best = told.scores.iter().max_by(|a, b| mean(a.1).total_cmp(&mean(b.1)).then(b.0.cmp(a.0))).unwrap();
    let last = *told.scores.keys().last().unwrap();
    assert_eq!(told.scores.keys().copied().collect::<Vec<_>>(), (0..=last).step_by(5).collect::<Vec<_>>());
    assert_eq!(last, best.0 + 15, "three evaluations without a better one: {:?}", told.scores);
    assert!(last < 200 && mean(best.1) > mean(&told.scores[&0]) + 0.1, "{:?}", told.scores);
    assert!(told.messages.iter().any(|m| m.contains(&format!("ends after {last} of 200 steps"))));

    // What the run ends with is what was best: asked again with the same draws it answers the same.
    let points = RunReader::open(&root).unwrap().validations().unwrap();
    assert_eq!(points.len(), 2 * told.scores.len());
    let kept = points.iter().find(|point| point.step == *best.0).unwrap();
    assert_eq!((kept.phase.as_str(), kept.benchmark.as_str()), ("spoilt", "binary"));
    assert_eq!(kept.report["accuracy"], best.1[1]);
    let twin = dir.path().join("twin");
    let (outcome, same) = toy::run(&twin, spoilt(*best.0, || toy::validation(5, 0)), &mut ());
    outcome.unwrap();
    assert_eq!(policy, same);
    assert!(!root.join("best").exists(), "policies that were kept on the way go with the end of the run");
}

#[test]
fn looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, validation: Option<fn() -> Validation<TablePolicy>>| {
        let phases = vec![Phase::new("open", move |_: &mut TablePolicy, _: &dyn reft_core::RunStore| {
            let mut stages = toy::rl_stages("open", 12);
            stages.validation = validation.map(|validation| validation());
            Ok(Stages::Rl(stages))
        })];
        let root = dir.path().join(name);
        let (outcome, policy) = toy::run(&root, phases, &mut ());
        outcome.unwrap();
        (policy, std::fs::read(root.join("metrics.jsonl")).unwrap())
    };
    let looking = || Validation { keep_best: false, ..toy::validation(5, 0) };
    assert_eq!(run("with", Some(looking)), run("without", None));
}
