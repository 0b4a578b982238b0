//! What a curriculum draws: balance, epochs, stages, exact resume.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use reft_config::{CurriculumConfig, FilterConfig, StageConfig, WithForm};
use reft_core::{
    BoxFrame, Completion, Curriculum, Form, Group, RewardParts, Sample, ScoredGroup, Seed, Stateful, Task,
    Verdict,
};
use reft_curriculum::{CurriculumError, Shuffle, build, filter};

fn sample(id: usize, form: Form, task: Task, solution: &str) -> Arc<Sample> {
    Arc::new(Sample {
        id: format!("{form}-{task}-{id}").into(),
        task,
        form,
        problem: String::new(),
        messages: Vec::new(),
        solution: solution.into(),
        box_frame: BoxFrame::Original,
        parent: None,
    })
}

/// `n` samples of each task, half of them yes.
fn binary(n: usize) -> Vec<Arc<Sample>> {
    let tasks = [Task::Detection, Task::Classification, Task::Math];
    tasks
        .into_iter()
        .flat_map(|task| {
            (0..n).map(move |i| sample(i, Form::Binary, task, if i < n / 2 { "yes" } else { "no" }))
        })
        .collect()
}

fn all_forms(n: usize) -> Vec<Arc<Sample>> {
    let forms = [(Form::Choice, "A"), (Form::Open, "1")];
    let rest = forms
        .into_iter()
        .flat_map(|(form, solution)| (0..n).map(move |i| sample(i, form, Task::Math, solution)));
    binary(n).into_iter().chain(rest).collect()
}

fn ids(batch: &[Arc<Sample>]) -> Vec<String> {
    batch.iter().map(|sample| sample.id.to_string()).collect()
}

fn counts<K: Ord>(batch: &[Arc<Sample>], key: impl Fn(&Sample) -> K) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for sample in batch {
        *counts.entry(key(sample)).or_default() += 1;
    }
    counts
}

#[test]
fn every_batch_is_balanced() {
    for batch_size in [6, 8, 12, 32] {
        let mut curriculum = Shuffle::new(binary(40), Seed::new(3)).unwrap();
        for step in 0..30 {
            let batch = curriculum.next_batch(step, batch_size).unwrap();
            let tasks = counts(&batch, |sample| sample.task);
            assert!(
                tasks.len() == 3 && tasks.values().all(|&n| n.abs_diff(batch_size / 3) <= 1),
                "{tasks:?}"
            );
            let answers = counts(&batch, |sample| sample.solution.clone());
            assert!(
                answers.len() == 2 && answers.values().all(|&n| n.abs_diff(batch_size / 2) <= 1),
                "{answers:?}"
            );
        }
    }
}

#[test]
fn a_one_sided_pool_is_still_used_whole() {
    let mut pool: Vec<_> = (0..9).map(|i| sample(i, Form::Binary, Task::Math, "yes")).collect();
    pool.extend((9..12).map(|i| sample(i, Form::Binary, Task::Math, "no")));
    let mut curriculum = Shuffle::new(pool, Seed::new(0)).unwrap();
    for step in 0..3 {
        let batch = curriculum.next_batch(step, 4).unwrap();
        assert_eq!(counts(&batch, |sample| sample.solution.clone())["no"], 1);
    }
}

#[test]
fn each_epoch_has_every_sample_once_in_its_own_order() {
    let mut curriculum = Shuffle::new(binary(10), Seed::new(1)).unwrap();
    let first = ids(&curriculum.next_batch(0, 30).unwrap());
    let second = ids(&curriculum.next_batch(1, 30).unwrap());
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!((set(&first).len(), set(&second).len()), (30, 30));
    assert_ne!(first, second);
    assert_eq!(curriculum.metrics().get("curriculum/epoch"), Some(2.0));
}

#[test]
fn the_seed_decides() {
    let draw = |seed| ids(&Shuffle::new(binary(10), Seed::new(seed)).unwrap().next_batch(0, 20).unwrap());
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

fn staged() -> CurriculumConfig {
    let stage = |form, steps| StageConfig { forms: vec![WithForm(form)], steps };
    CurriculumConfig::Staged {
        stages: vec![stage(Form::Binary, 2), stage(Form::Choice, 3), stage(Form::Open, 1)],
    }
}

#[test]
fn stages_follow_the_step() {
    let mut curriculum = build(&staged(), all_forms(6), Seed::new(1)).unwrap();
    let expected = [
        Form::Binary,
        Form::Binary,
        Form::Choice,
        Form::Choice,
        Form::Choice,
        Form::Open,
        Form::Open,
        Form::Open,
    ];
    for (step, form) in expected.into_iter().enumerate() {
        let batch = curriculum.next_batch(step as u64, 3).unwrap();
        assert!(batch.iter().all(|sample| sample.form == form), "step {step}");
        assert_eq!(curriculum.metrics().get("curriculum/stage"), Some(form as u8 as f64 + 1.0));
    }
}

#[test]
fn impossible_curricula_say_why() {
    let error = build(&CurriculumConfig::Shuffle, Vec::new(), Seed::new(0)).err();
    assert_eq!(error, Some(CurriculumError::EmptyPool));
    let error = build(&staged(), binary(4), Seed::new(0)).err().unwrap();
    assert_eq!(error, CurriculumError::EmptyStage { stage: 2, forms: "`choice`".into() });
    let none = CurriculumConfig::Staged { stages: Vec::new() };
    assert_eq!(build(&none, binary(4), Seed::new(0)).err(), Some(CurriculumError::NoStages));
}

#[test]
fn states_of_other_data_are_refused() {
    let saved = Shuffle::new(binary(4), Seed::new(0)).unwrap().save().unwrap();
    let mut other = Shuffle::new(binary(6), Seed::new(0)).unwrap();
    assert!(other.load(&saved).unwrap_err().to_string().contains("12 samples"));
    assert!(other.load(&serde_json::json!("x")).is_err());
    assert!(build(&staged(), all_forms(4), Seed::new(0)).unwrap().load(&saved).is_err());
}

#[test]
fn filters_by_variance() {
    let group = |totals: &[f32]| ScoredGroup {
        group: Group {
            sample: sample(0, Form::Open, Task::Math, "1"),
            prompt_tokens: 1,
            completions: vec![Completion::from_text("1"); totals.len()],
            policy_version: 0,
        },
        rewards: totals.iter().map(|&total| RewardParts { total, parts: Vec::new() }).collect(),
        advantages: vec![0.0; totals.len()],
        verdict: Verdict::Admit,
    };
    let mut zero_variance = filter::build(&FilterConfig { zero_variance: true });
    let rejected = Verdict::Reject { reason: "zero_variance".into() };
    assert_eq!(zero_variance.judge(&group(&[1.0, 1.0])), rejected);
    assert_eq!(zero_variance.judge(&group(&[1.0])), rejected);
    assert_eq!(zero_variance.judge(&group(&[1.0, 0.0, 1.0])), Verdict::Admit);
    assert_eq!(
        filter::build(&FilterConfig { zero_variance: false }).judge(&group(&[1.0, 1.0])),
        Verdict::Admit
    );
}

proptest! {
    #[test]
    fn resume_is_exact(before in 0_u64..12, batch in 1_usize..9, seed in 0_u64..100) {
        for config in [CurriculumConfig::Shuffle, staged()] {
            let start = || build(&config, all_forms(5), Seed::new(seed)).unwrap();
            let mut whole = start();
            for step in 0..before {
                whole.next_batch(step, batch).unwrap();
            }
            let state = whole.save().unwrap();
            let mut resumed = start();
            resumed.load(&state).unwrap();
            for step in before..before + 8 {
                let expected = ids(&whole.next_batch(step, batch).unwrap());
                prop_assert_eq!(ids(&resumed.next_batch(step, batch).unwrap()), expected);
                prop_assert_eq!(resumed.metrics(), whole.metrics());
            }
        }
    }
}
