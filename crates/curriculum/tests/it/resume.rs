//! State: saved and restored at any step, the run goes on bit for bit; states of other data are refused.

use std::{collections::BTreeSet, fs, sync::Arc};

use proptest::prelude::*;
use reft_config::{
    AdaRftConfig, CurriculumConfig, DynamicConfig, ExpansionConfig, FilterConfig, LengthStageConfig,
    PlateauConfig, PoolsConfig, PtstConfig, RefillConfig, SecConfig, StageConfig, StageOrder, StagedConfig,
    WithForm,
};
use reft_core::{Form, Sample, ScoredGroup, Seed, Task};
use reft_curriculum::{Pool, build};
use reft_testkit::exercise;
use serde_json::{Value, json};

use crate::support::Class;

/// Three forms of two tasks, from easy to hard.
fn pool(n: usize) -> Vec<Arc<Sample>> {
    let kinds = [Task::Math, Task::Vqa].into_iter().flat_map(|task| Form::ALL.map(|form| (task, form)));
    kinds
        .flat_map(|(task, form)| {
            (0..n).map(move |i| exercise(task, form, form as u8 as f64 + i as f64 / 4.0, i))
        })
        .collect()
}

/// The samples of `pool` in two sources of uneven weight.
fn mixture(n: usize) -> Pool {
    let (math, vqa) = pool(n).into_iter().partition(|sample| sample.task == Task::Math);
    Pool::new().with("math", 1.0, math).with("vqa", 2.5, vqa)
}

fn staged(order: StageOrder) -> CurriculumConfig {
    let stage = |form| StageConfig { forms: vec![WithForm(form)], steps: Some(4), ..StageConfig::default() };
    let mut stages = Form::ALL.map(stage).to_vec();
    if order != StageOrder::Mixed {
        let plateau = PlateauConfig { max_steps: 5, window: 2, patience: 2, min_delta: 0.05 };
        stages[0] = StageConfig { steps: None, plateau: Some(plateau), ..stages[0].clone() };
        stages[1] = StageConfig { steps: None, epochs: Some(1.5), ..stages[1].clone() };
    }
    CurriculumConfig::Staged(StagedConfig { order, stages })
}

fn curricula() -> Vec<CurriculumConfig> {
    let length = |steps, max_new_tokens, group_size| LengthStageConfig { steps, max_new_tokens, group_size };
    vec![
        CurriculumConfig::Shuffle,
        staged(StageOrder::Forward),
        staged(StageOrder::Reverse),
        staged(StageOrder::Mixed),
        CurriculumConfig::Sec(SecConfig::default()),
        CurriculumConfig::Pools(PoolsConfig { easy: 0.8, hard: 0.3, ..PoolsConfig::default() }),
        CurriculumConfig::AdaRft(AdaRftConfig::default()),
        CurriculumConfig::Ptst(PtstConfig { stages: vec![length(4, 16, Some(4)), length(4, 64, None)] }),
    ]
}

fn refills() -> [RefillConfig; 3] {
    [
        RefillConfig::Off,
        RefillConfig::Dynamic(DynamicConfig { max_rounds: 3 }),
        RefillConfig::Expansion(ExpansionConfig::default()),
    ]
}

fn class(curriculum: &CurriculumConfig, refill: RefillConfig, pool: impl Into<Pool>) -> Class {
    Class::new(curriculum, &FilterConfig { zero_variance: true, refill, ..FilterConfig::default() }, pool)
}

/// What the checkpoint of a run holds, as text: the bytes that are written and read again.
fn save(class: &Class) -> String {
    let refill = class.refill.as_ref().map(|refill| refill.save().unwrap());
    json!([class.curriculum.save().unwrap(), refill]).to_string()
}

/// A class that goes on where another stands.
fn resume(mut fresh: Class, from: &Class, saved: &str) -> Class {
    let saved: Value = serde_json::from_str(saved).unwrap();
    fresh.curriculum.load(&saved[0]).unwrap();
    if let Some(refill) = &mut fresh.refill {
        refill.load(&saved[1]).unwrap();
    }
    Class { student: from.student.clone(), step: from.step, ..fresh }
}

fn answers(groups: &[ScoredGroup]) -> Vec<(String, Vec<f32>)> {
    groups.iter().map(|scored| (scored.group.sample.id.to_string(), scored.totals())).collect()
}

proptest! {
    #[test]
    fn a_resume_is_exact(before in 0_usize..14, which in 0_usize..8, refill in 0_usize..3, mixed: bool) {
        let (config, refill) = (&curricula()[which], refills()[refill]);
        let pool = || if mixed { mixture(5) } else { pool(5).into() };
        let mut whole = class(config, refill, pool());
        whole.run(before);
        let saved = save(&whole);
        let mut resumed = resume(class(config, refill, pool()), &whole, &saved);
        prop_assert_eq!(save(&resumed), saved);
        for _ in 0..8 {
            prop_assert_eq!(answers(&resumed.step()), answers(&whole.step()));
            prop_assert_eq!(resumed.metrics(), whole.metrics());
        }
        prop_assert_eq!(save(&resumed), save(&whole));
    }

    #[test]
    fn a_batch_has_the_asked_size(n in 1_usize..50, size in 1_usize..4, which in 0_usize..8) {
        let mut curriculum = build(&curricula()[which], pool(size), Seed::new(3)).unwrap();
        for step in 0..20 {
            prop_assert_eq!(curriculum.next_batch(step, n).unwrap().len(), n);
        }
    }
}

#[test]
fn states_of_other_data_and_other_recipes_are_refused() {
    for (i, config) in curricula().iter().enumerate() {
        let mut other = build(config, pool(6), Seed::new(0)).unwrap();
        let saved = build(config, pool(5), Seed::new(0)).unwrap().save().unwrap();
        let error = other.load(&saved).unwrap_err().to_string();
        assert!(error.contains("resume with the same data"), "{config:?}: {error}");
        assert!(other.load(&json!("x")).is_err(), "{config:?}");
        let own = other.save().unwrap();
        for (j, neighbour) in curricula().iter().enumerate().filter(|(j, _)| *j != i) {
            // These keep the same kind of state: the arms of one ablation, and lengths around a shuffle.
            let alike = [(1, 2), (2, 1), (0, 7), (7, 0)].contains(&(i, j));
            let loaded = build(neighbour, pool(6), Seed::new(0)).unwrap().load(&own);
            assert!(alike || loaded.is_err(), "{config:?} as {neighbour:?}");
        }
    }
}

#[test]
fn every_number_is_in_the_documentation() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
    let docs = fs::read_to_string(docs).unwrap();
    let documented: BTreeSet<&str> = docs.split('`').skip(1).step_by(2).collect();
    let mut emitted = BTreeSet::new();
    for config in curricula() {
        for refill in refills() {
            let mut class = class(&config, refill, mixture(5));
            class.run(12);
            emitted.extend(class.metrics().iter().map(
                |(name, _)| match name.split('/').collect::<Vec<_>>()[..] {
                    [stage, "epoch", _] => format!("{stage}/epoch/<source>"),
                    [stage, kind, _] => format!("{stage}/{kind}/<category>"),
                    _ => name.to_owned(),
                },
            ));
        }
    }
    let unknown: Vec<_> = emitted.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "not in docs/METRICS.md: {unknown:?}");
    let stale: Vec<_> = documented
        .iter()
        .filter(|name| name.starts_with("curriculum/") || name.starts_with("refill/"))
        .filter(|name| !emitted.contains(**name))
        .collect();
    assert!(stale.is_empty(), "in docs/METRICS.md, but no run emits it: {stale:?}");
}
