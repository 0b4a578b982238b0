//! What a curriculum draws: balance, epochs, stages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use reft_config::{
    AdaRftConfig, CurriculumConfig, PlateauConfig, StageConfig, StageOrder, StagedConfig, WithForm,
};
use reft_core::{BoxFrame, Curriculum, Form, Sample, Seed, Stateful, Task};
use reft_curriculum::{CurriculumError, Pool, Shuffle, build};

use crate::support::right_and_wrong;

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
fn sources_keep_their_shares_in_every_batch_and_have_epochs_of_their_own() {
    let of = |task, n| (0..n).map(|i| sample(i, Form::Open, task, "1")).collect::<Vec<_>>();
    let pool = || {
        let pool = Pool::new().with("few", 3.0, of(Task::Math, 5)).with("many", 1.0, of(Task::Vqa, 100));
        pool.with("none", 9.0, Vec::new())
    };
    let mut curriculum = Shuffle::new(pool(), Seed::new(1)).unwrap();
    let mut few = Vec::new();
    for step in 0..10 {
        let batch = curriculum.next_batch(step, 8).unwrap();
        assert_eq!(counts(&batch, |sample| sample.task)[&Task::Math], 6);
        few.extend(batch.into_iter().filter(|sample| sample.task == Task::Math));
    }
    for epoch in ids(&few).chunks(5) {
        assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 5);
    }
    let metrics = curriculum.metrics();
    let epochs =
        ["curriculum/epoch/few", "curriculum/epoch/many", "curriculum/epoch"].map(|name| metrics.get(name));
    assert_eq!(epochs, [Some(12.0), Some(0.2), Some(80.0 / 105.0)]);

    // Stages and categories draw from their parts of the sources; a pool of nothing is refused.
    let all = || Pool::new().with("a", 1.0, all_forms(8)).with("b", 1.0, all_forms(8));
    let mut staged = build(&staged(StageOrder::Forward), all(), Seed::new(0)).unwrap();
    assert!(staged.next_batch(0, 8).unwrap().iter().all(|sample| sample.form == Form::Binary));
    assert_eq!(Shuffle::new(Pool::new(), Seed::new(0)).err(), Some(CurriculumError::EmptyPool));
}

#[test]
fn the_seed_decides() {
    let draw = |seed| ids(&Shuffle::new(binary(10), Seed::new(seed)).unwrap().next_batch(0, 20).unwrap());
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

fn of_form(form: Form) -> StageConfig {
    StageConfig { forms: vec![WithForm(form)], ..StageConfig::default() }
}

fn staged(order: StageOrder) -> CurriculumConfig {
    let stage = |form, steps| StageConfig { steps: Some(steps), ..of_form(form) };
    let stages = vec![stage(Form::Binary, 2), stage(Form::Choice, 3), stage(Form::Open, 1)];
    CurriculumConfig::Staged(StagedConfig { order, stages })
}

/// The forms of each step's batch, which is of one form.
fn forms(config: &CurriculumConfig, steps: u64, right: impl Fn(u64) -> usize) -> Vec<Form> {
    let mut curriculum = build(config, all_forms(6), Seed::new(1)).unwrap();
    let step = |step| {
        let batch = curriculum.next_batch(step, 3).unwrap();
        assert_eq!(counts(&batch, |sample| sample.form).len(), 1, "step {step}");
        // A second batch of the same step is of the same form, whatever it completes.
        assert_eq!(curriculum.next_batch(step, 3).unwrap()[0].form, batch[0].form, "step {step}");
        let groups: Vec<_> = batch.iter().map(|sample| right_and_wrong(sample, right(step), 4)).collect();
        curriculum.observe(&groups);
        batch[0].form
    };
    (0..steps).map(step).collect()
}

#[test]
fn stages_follow_the_step() {
    use Form::{Binary, Choice, Open};
    let expected = [Binary, Binary, Choice, Choice, Choice, Open, Open, Open];
    assert_eq!(forms(&staged(StageOrder::Forward), 8, |_| 1), expected);
    let expected = [Open, Choice, Choice, Choice, Binary, Binary, Binary, Binary];
    assert_eq!(forms(&staged(StageOrder::Reverse), 8, |_| 1), expected);

    let mut curriculum = build(&staged(StageOrder::Forward), all_forms(6), Seed::new(1)).unwrap();
    curriculum.next_batch(0, 3).unwrap();
    assert_eq!(curriculum.metrics().get("curriculum/stage"), Some(1.0));
    curriculum.next_batch(5, 3).unwrap();
    assert_eq!(curriculum.metrics().get("curriculum/stage"), Some(3.0));
}

#[test]
fn stages_last_for_passes_over_their_samples() {
    let stages = vec![
        // 18 samples, six a step: two passes end within the sixth step.
        StageConfig { epochs: Some(2.0), ..of_form(Form::Binary) },
        // 6 samples: half a pass is within the first step.
        StageConfig { epochs: Some(0.5), ..of_form(Form::Choice) },
        StageConfig { epochs: Some(1.0), ..of_form(Form::Open) },
    ];
    let config = CurriculumConfig::Staged(StagedConfig { order: StageOrder::Forward, stages });
    let expected = [vec![Form::Binary; 6], vec![Form::Choice], vec![Form::Open; 3]].concat();
    assert_eq!(forms(&config, 10, |_| 1), expected);
}

#[test]
fn stages_last_until_accuracy_is_flat() {
    let plateau = PlateauConfig { max_steps: 9, window: 1, patience: 2, min_delta: 0.01 };
    let rising = StageConfig { plateau: Some(plateau), ..of_form(Form::Binary) };
    let last = StageConfig { steps: Some(1), ..of_form(Form::Open) };
    let stages = vec![rising, last];
    let config = CurriculumConfig::Staged(StagedConfig { order: StageOrder::Forward, stages });
    let binary_steps = |right: fn(u64) -> usize| {
        forms(&config, 12, right).iter().filter(|form| **form == Form::Binary).count()
    };
    // Steps 0 to 3 rise from 1 of 4 to 4 of 4, and two more are flat.
    assert_eq!(binary_steps(|step| (step as usize + 1).min(4)), 6);
    assert_eq!(binary_steps(|_| 2), 3, "flat after the first");
    let slow = PlateauConfig { patience: 100, ..plateau };
    let stages = vec![
        StageConfig { plateau: Some(slow), ..of_form(Form::Binary) },
        StageConfig { steps: Some(1), ..of_form(Form::Open) },
    ];
    let config = CurriculumConfig::Staged(StagedConfig { order: StageOrder::Forward, stages });
    let capped = forms(&config, 12, |_| 2).iter().filter(|form| **form == Form::Binary).count();
    assert_eq!(capped, 9, "`max_steps`");
}

#[test]
fn mixed_stages_have_their_shares_of_every_stretch() {
    let mut curriculum = build(&staged(StageOrder::Mixed), all_forms(6), Seed::new(1)).unwrap();
    let mut all = Vec::new();
    for step in 0..40 {
        let batch = curriculum.next_batch(step, 6).unwrap();
        let forms = counts(&batch, |sample| sample.form);
        assert_eq!(
            (forms[&Form::Binary], forms[&Form::Choice], forms[&Form::Open]),
            (2, 3, 1),
            "step {step}"
        );
        all.extend(batch);
    }
    // Within a form, everyone has a turn before anyone has the next.
    let seen = counts(&all, |sample| sample.id.clone());
    for form in Form::ALL {
        let of_form = all.iter().filter(|sample| sample.form == form);
        let times: BTreeSet<usize> = of_form.map(|sample| seen[&sample.id]).collect();
        assert!(times.last().unwrap() - times.first().unwrap() <= 1, "{form}: {times:?}");
    }
}

#[test]
fn impossible_curricula_say_why() {
    let error = build(&CurriculumConfig::Shuffle, Vec::new(), Seed::new(0)).err();
    assert_eq!(error, Some(CurriculumError::EmptyPool));
    let error = build(&staged(StageOrder::Forward), binary(4), Seed::new(0)).err().unwrap();
    assert_eq!(error, CurriculumError::EmptyStage { stage: 2, forms: "`choice`".into() });
    let of = |order, stages| CurriculumConfig::Staged(StagedConfig { order, stages });
    let none = of(StageOrder::Forward, Vec::new());
    assert_eq!(build(&none, binary(4), Seed::new(0)).err(), Some(CurriculumError::NoStages));
    let endless = of(StageOrder::Forward, vec![of_form(Form::Binary)]);
    assert_eq!(build(&endless, binary(4), Seed::new(0)).err(), Some(CurriculumError::NoLength { stage: 1 }));
    let shareless = StageConfig { epochs: Some(1.0), ..of_form(Form::Binary) };
    let error = build(&of(StageOrder::Mixed, vec![shareless]), binary(4), Seed::new(0)).err();
    assert_eq!(error, Some(CurriculumError::MixedLength { stage: 1 }));
}

#[test]
fn states_of_other_data_are_refused() {
    let saved = Shuffle::new(binary(4), Seed::new(0)).unwrap().save().unwrap();
    let mut other = Shuffle::new(binary(6), Seed::new(0)).unwrap();
    assert!(other.load(&saved).unwrap_err().to_string().contains("12 samples"));
    assert!(other.load(&serde_json::json!("x")).is_err());
    assert!(build(&staged(StageOrder::Forward), all_forms(4), Seed::new(0)).unwrap().load(&saved).is_err());
}

#[test]
fn difficulties_come_from_a_file_by_sample_or_parent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("difficulty.jsonl");
    let config = CurriculumConfig::AdaRft(AdaRftConfig {
        difficulty: Some(path.clone()),
        start: 100.0,
        spread: 0.0,
        ..AdaRftConfig::default()
    });
    let mut pool: Vec<_> = (0..3).map(|i| sample(i, Form::Open, Task::Math, "1")).collect();
    let child = Sample { id: "child".into(), parent: Some("open-math-0".into()), ..Sample::clone(&pool[0]) };
    pool[0] = Arc::new(child);
    let start = || build(&config, pool.clone(), Seed::new(0));

    for (text, expected) in [
        ("", "says nothing of 3 of the 3 samples, for example `child`"),
        ("{\"id\": \"open-math-0\"}", "line 1: give either `difficulty` from 0 to 100 or `pass_rate`"),
        ("\n{\"id\": \"x\", \"difficulty\": 101}", "line 2: give either"),
        ("{\"id\": \"x\", \"difficulty\": 1, \"pass_rate\": 1}", "line 1: give either"),
        ("{\"id\": \"x\", \"hardness\": 1}", "line 1: give either"),
        ("[]", "line 1: "),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = start().err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("difficulty.jsonl"), "{text}: {error}");
    }
    std::fs::write(
        &path,
        "{\"id\": \"open-math-0\", \"pass_rate\": 0.75}\n{\"id\": \"open-math-1\", \"difficulty\": 90}\n\
         {\"id\": \"open-math-2\", \"difficulty\": 50}\n",
    )
    .unwrap();
    let mut curriculum = start().unwrap();
    // The target is 100: the hardest first.
    assert_eq!(ids(&curriculum.next_batch(0, 3).unwrap()), ["open-math-1", "open-math-2", "child"]);
    std::fs::remove_file(&path).unwrap();
    assert!(start().err().unwrap().to_string().contains("`curriculum.difficulty`"));
}
