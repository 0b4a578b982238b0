//! What each curriculum, filter and refill is for, on a synthetic student (`reft_testkit::Student`).
//!
//! Seeds are fixed, so every number is the same on each run. `--nocapture` prints them; docs/CURRICULA.md has them.

use std::sync::Arc;

use reft_config::{
    AdaRftConfig, ArmKey, BandConfig, CurriculumConfig, DynamicConfig, ExpansionConfig, FilterConfig,
    LengthStageConfig, PlateauConfig, PoolsConfig, PtstConfig, RefillConfig, SecConfig, StageConfig,
    StageOrder, StagedConfig, WithForm,
};
use reft_core::{Form, Sample, ScoredGroup, Seed, Task};
use reft_curriculum::Pool;
use reft_testkit::exercise;

use crate::support::{BATCH, Class, mixed};

fn exercises(task: Task, form: Form, difficulty: f64, n: usize) -> impl Iterator<Item = Arc<Sample>> {
    (0..n).map(move |i| exercise(task, form, difficulty, i))
}

fn class(curriculum: &CurriculumConfig, pool: &[Arc<Sample>]) -> Class {
    Class::new(curriculum, &FilterConfig::default(), pool.to_vec())
}

fn filtered(filter: FilterConfig, pool: &[Arc<Sample>]) -> Class {
    Class::new(&CurriculumConfig::Shuffle, &filter, pool.to_vec())
}

/// Each form far beyond the one before it.
fn ladder() -> Vec<Arc<Sample>> {
    let rungs = [(Form::Binary, 0.0), (Form::Choice, 4.0), (Form::Open, 8.0)];
    rungs.into_iter().flat_map(|(form, difficulty)| exercises(Task::Math, form, difficulty, 40)).collect()
}

fn staged(order: StageOrder, stages: &[(Form, u64)]) -> CurriculumConfig {
    let stage = |&(form, steps)| StageConfig {
        forms: vec![WithForm(form)],
        steps: Some(steps),
        ..StageConfig::default()
    };
    CurriculumConfig::Staged(StagedConfig { order, stages: stages.iter().map(stage).collect() })
}

#[test]
fn stages_forward_reach_open_questions_that_other_orders_do_not() {
    let steps = [(Form::Binary, 80), (Form::Choice, 80), (Form::Open, 80)];
    let open = exercise(Task::Math, Form::Open, 8.0, 0);
    let outcome = |config: &CurriculumConfig| {
        let mut class = class(config, &ladder());
        class.run(240);
        class.student.probability(&open)
    };
    let forward = outcome(&staged(StageOrder::Forward, &steps));
    let mixed = outcome(&staged(StageOrder::Mixed, &steps));
    let reverse = outcome(&staged(StageOrder::Reverse, &steps));
    let open_only = outcome(&staged(StageOrder::Forward, &[(Form::Open, 240)]));
    eprintln!("forward {forward:.3}, mixed {mixed:.3}, reverse {reverse:.3}, open alone {open_only:.3}");
    assert!(
        forward > mixed + 0.1 && mixed > reverse + 0.02 && reverse > open_only,
        "the paper's order of arms"
    );
}

#[test]
fn a_plateau_ends_a_stage_when_it_has_taught_what_it_can() {
    let plateau = PlateauConfig { max_steps: 400, window: 10, patience: 15, min_delta: 0.01 };
    let stage =
        |form| StageConfig { forms: vec![WithForm(form)], plateau: Some(plateau), ..StageConfig::default() };
    let stages = vec![stage(Form::Binary), stage(Form::Choice), stage(Form::Open)];
    let config = CurriculumConfig::Staged(StagedConfig { order: StageOrder::Forward, stages });
    let mut class = class(&config, &ladder());
    let mut entered = Vec::new();
    for step in 0..400 {
        class.step();
        let stage = class.metrics().get("curriculum/stage").unwrap();
        if entered.len() < stage as usize {
            entered.push((step, class.student.skill(Task::Math)));
        }
    }
    eprintln!("stages entered at (step, skill): {entered:?}");
    let [_, (choice, skill_at_choice), (_, skill_at_open)] = entered[..] else { panic!("{entered:?}") };
    // Not while the binary stage still teaches (skill 0 on difficulty 0), nor long after.
    assert!((20..200).contains(&choice), "{choice}");
    assert!(skill_at_choice > 1.5 && skill_at_open > skill_at_choice + 2.0, "{entered:?}");
}

#[test]
fn sec_finds_the_task_that_teaches() {
    // One task is mastered, one is beyond reach, one is at the border of skill.
    let pool: Vec<_> = exercises(Task::Math, Form::Open, -8.0, 40)
        .chain(exercises(Task::Detection, Form::Open, 1.0, 40))
        .chain(exercises(Task::Vqa, Form::Open, 14.0, 40))
        .collect();
    let sec = CurriculumConfig::Sec(SecConfig { arms: ArmKey::Task, ..SecConfig::default() });
    let outcome = |config: &CurriculumConfig| {
        let mut class = class(config, &pool);
        let groups = class.run(60);
        let drawn = groups.iter().filter(|scored| scored.group.sample.task == Task::Detection).count();
        (drawn as f64 / groups.len() as f64, class.student.skill(Task::Detection))
    };
    let (share, skill) = outcome(&sec);
    let (even_share, even_skill) = outcome(&CurriculumConfig::Shuffle);
    eprintln!("SEC: {share:.2} of draws, skill {skill:.2}; shuffle: {even_share:.2}, {even_skill:.2}");
    assert!((even_share - 1.0 / 3.0).abs() < 0.01);
    assert!(share > 0.5 && skill > 1.3 * even_skill);
}

#[test]
fn pools_spend_rollouts_on_questions_that_differ_and_notice_what_comes_into_reach() {
    let pool: Vec<_> = exercises(Task::Math, Form::Open, -7.0, 60)
        .chain(exercises(Task::Math, Form::Open, 0.0, 20))
        .chain(exercises(Task::Math, Form::Open, 3.5, 20))
        .collect();
    let outcome = |config: &CurriculumConfig| {
        let mut class = class(config, &pool);
        // The first pass over the data only measures.
        class.run(pool.len().div_ceil(BATCH));
        let groups = class.run(80);
        (mixed(&groups), class.student.skill(Task::Math))
    };
    let (share, skill) = outcome(&CurriculumConfig::Pools(PoolsConfig::default()));
    let (even_share, even_skill) = outcome(&CurriculumConfig::Shuffle);
    eprintln!("pools: {share:.2} mixed, skill {skill:.2}; shuffle: {even_share:.2}, {even_skill:.2}");
    assert!(share > 1.4 * even_share);
    // The hardest were hard at first; they are found again once they can be answered.
    assert!(skill > 3.5 && skill > 1.2 * even_skill);
}

#[test]
fn adarft_keeps_questions_at_the_border_of_skill() {
    // Difficulty -2 to 8 for the student is 0 to 100 for the curriculum.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("difficulty.jsonl");
    let pool: Vec<_> =
        (0..=100).flat_map(|d| exercises(Task::Math, Form::Open, f64::from(d) / 10.0 - 2.0, 3)).collect();
    let row = |sample: &Arc<Sample>| {
        let difficulty = ((sample.problem.parse::<f64>().unwrap() + 2.0) * 10.0).round();
        serde_json::json!({"id": sample.id, "difficulty": difficulty}).to_string()
    };
    let rows: Vec<String> = pool.iter().map(row).collect();
    std::fs::write(&path, rows.join("\n")).unwrap();
    let config = AdaRftConfig { difficulty: Some(path), ..AdaRftConfig::default() };
    let outcome = |config: &CurriculumConfig| {
        let mut class = class(config, &pool);
        class.run(20);
        let groups = class.run(40);
        let mean = groups.iter().map(ScoredGroup::pass_rate).sum::<f64>() / groups.len() as f64;
        (mean, mixed(&groups), class.student.skill(Task::Math), class.metrics().get("curriculum/target"))
    };
    let (accuracy, share, skill, target) = outcome(&CurriculumConfig::AdaRft(config));
    let (_, even_share, even_skill, _) = outcome(&CurriculumConfig::Shuffle);
    eprintln!("AdaRFT: accuracy {accuracy:.2}, {share:.2} mixed, skill {skill:.2}, target {target:?}");
    eprintln!("shuffle: {even_share:.2} mixed, skill {even_skill:.2}");
    assert!((accuracy - 0.5).abs() < 0.1, "beta");
    assert!(share > 1.2 * even_share && skill > 1.2 * even_skill);
    assert!(target.unwrap() > 40.0, "it rose with the skill");
}

#[test]
fn adarft_without_difficulties_climbs_the_forms() {
    let mut class =
        class(&CurriculumConfig::AdaRft(AdaRftConfig { eta: 10.0, ..AdaRftConfig::default() }), &ladder());
    let first = class.run(5);
    assert!(first.iter().all(|scored| scored.group.sample.form == Form::Binary));
    let last = &class.run(400)[390 * BATCH..];
    let open = last.iter().filter(|scored| scored.group.sample.form == Form::Open).count();
    eprintln!("{open} of {} open, skill {:.2}", last.len(), class.student.skill(Task::Math));
    assert!(open * 2 > last.len());
}

#[test]
fn ptst_saves_the_tokens_of_early_wrong_answers() {
    let pool: Vec<_> = exercises(Task::Math, Form::Open, 2.0, 40).collect();
    let stage = |steps, max_new_tokens, group_size| LengthStageConfig { steps, max_new_tokens, group_size };
    let ptst =
        CurriculumConfig::Ptst(PtstConfig { stages: vec![stage(40, 64, Some(16)), stage(40, 512, None)] });
    let outcome = |config: &CurriculumConfig| {
        let mut class = class(config, &pool);
        let groups = class.run(80);
        let tokens = groups.iter().flat_map(|scored| &scored.group.completions).map(|c| c.token_ids.len());
        (tokens.sum::<usize>(), class.student.skill(Task::Math))
    };
    let (tokens, skill) = outcome(&ptst);
    let (long_tokens, long_skill) = outcome(&CurriculumConfig::Shuffle);
    eprintln!("PTST: {tokens} tokens, skill {skill:.2}; long from the start: {long_tokens}, {long_skill:.2}");
    assert!(tokens * 3 < long_tokens * 2 && skill > 0.95 * long_skill);
}

/// Half of the questions are mastered, a quarter can be learnt.
fn mostly_useless() -> Vec<Arc<Sample>> {
    exercises(Task::Vqa, Form::Open, -9.0, 80)
        .chain(exercises(Task::Math, Form::Open, 0.5, 40))
        .chain(exercises(Task::Vqa, Form::Open, 19.0, 40))
        .collect()
}

fn with_refill(refill: RefillConfig) -> FilterConfig {
    FilterConfig { zero_variance: true, refill, ..FilterConfig::default() }
}

/// How many groups each of so many steps trains on.
fn admitted(class: &mut Class, steps: usize) -> Vec<usize> {
    (0..steps).map(|_| class.step().iter().filter(|group| group.is_admitted()).count()).collect()
}

#[test]
fn dynamic_sampling_fills_every_batch() {
    let pool = mostly_useless();
    let dynamic = RefillConfig::Dynamic(DynamicConfig { max_rounds: 12 });
    let mut filled = filtered(with_refill(dynamic), &pool);
    let counts = admitted(&mut filled, 15);
    assert!(counts.iter().all(|&n| n >= BATCH), "{counts:?}");
    let mut once = filtered(with_refill(RefillConfig::Off), &pool);
    let counts = admitted(&mut once, 15);
    assert!(counts.iter().all(|&n| n <= BATCH / 2), "{counts:?}");

    // The cap: nothing to be learnt, so a step ends after its last call.
    let hopeless: Vec<_> = exercises(Task::Vqa, Form::Open, 30.0, 40).collect();
    let mut capped = filtered(with_refill(dynamic), &hopeless);
    assert_eq!(capped.step().len(), 12 * BATCH);
    assert_eq!(capped.metrics().get("refill/missing"), Some(BATCH as f64));
}

#[test]
fn expansion_fills_batches_on_average_in_one_call() {
    let expansion = RefillConfig::Expansion(ExpansionConfig { decay: 0.8, max_ratio: 8.0 });
    let mut class = filtered(with_refill(expansion), &mostly_useless());
    admitted(&mut class, 15);
    let counts = admitted(&mut class, 15);
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    eprintln!("{counts:?}, ratio {:?}", class.metrics().get("refill/ratio"));
    assert!((mean - BATCH as f64).abs() < 0.25 * BATCH as f64, "{mean}");
    assert_eq!(class.metrics().get("refill/rounds"), Some(1.0));
}

#[test]
fn a_success_band_learns_more_from_each_group_it_trains_on() {
    let pool: Vec<_> = (-4..=4).flat_map(|d| exercises(Task::Math, Form::Open, f64::from(d), 20)).collect();
    let band =
        FilterConfig { success_band: Some(BandConfig { low: 0.25, high: 0.75 }), ..FilterConfig::default() };
    let gain_per_group = |filter: FilterConfig| {
        let mut class = filtered(filter, &pool);
        let trained: usize = admitted(&mut class, 20).iter().sum();
        (class.student.skill(Task::Math), trained)
    };
    let (skill, trained) = gain_per_group(band);
    let (all_skill, all_trained) = gain_per_group(FilterConfig::default());
    eprintln!("band: {skill:.2} from {trained} groups; all: {all_skill:.2} from {all_trained}");
    assert!(skill > 1.3 * all_skill && trained < all_trained / 2);
}

#[test]
fn leaving_out_equal_groups_keeps_the_step_size() {
    let outcome = |zero_variance| {
        let mut class =
            filtered(FilterConfig { zero_variance, ..FilterConfig::default() }, &mostly_useless());
        let trained: usize = admitted(&mut class, 30).iter().sum();
        (class.student.skill(Task::Math), trained)
    };
    let ((skill, trained), (all_skill, all_trained)) = (outcome(true), outcome(false));
    eprintln!(
        "zero variance left out: {skill:.2} from {trained} groups; all: {all_skill:.2} from {all_trained}"
    );
    // An average over groups of which most say nothing is a small step.
    assert!(skill > 2.0 * all_skill && trained < all_trained / 3);
}

#[test]
fn leaving_out_cut_groups_saves_the_tokens_of_rambling() {
    let pool: Vec<_> = (-4..=4).flat_map(|d| exercises(Task::Math, Form::Open, f64::from(d), 20)).collect();
    let outcome = |max_truncated| {
        let mut class = filtered(FilterConfig { max_truncated, ..FilterConfig::default() }, &pool);
        let groups = class.run(20);
        let trained =
            groups.iter().filter(|group| group.is_admitted()).flat_map(|scored| &scored.group.completions);
        (class.student.skill(Task::Math), trained.map(|completion| completion.token_ids.len()).sum::<usize>())
    };
    let ((skill, tokens), (all_skill, all_tokens)) = (outcome(0.5), outcome(1.0));
    eprintln!("cut groups left out: {skill:.2} from {tokens} tokens; all: {all_skill:.2} from {all_tokens}");
    assert!(skill > 0.9 * all_skill && tokens * 4 < all_tokens);
}

#[test]
fn an_advantage_range_sees_through_graded_rewards() {
    // Every reward differs a little, as with IoU or lengths, so no group is without variance.
    let graded = |group: &mut ScoredGroup| {
        let seed = Seed::new(3).at(&group.group.sample.id);
        for (i, reward) in group.rewards.iter_mut().enumerate() {
            reward.total += 0.01 * seed.at(i).uniform() as f32;
        }
        let totals = group.totals();
        let mean = totals.iter().sum::<f32>() / totals.len() as f32;
        group.advantages = totals.iter().map(|total| total - mean).collect();
    };
    let outcome = |filter: FilterConfig| {
        let mut class = filtered(filter, &mostly_useless());
        class.change = Some(Box::new(graded));
        let trained: usize = admitted(&mut class, 30).iter().sum();
        (class.student.skill(Task::Math), trained)
    };
    let (skill, trained) = outcome(FilterConfig { advantage_range: 0.1, ..FilterConfig::default() });
    let (all_skill, all_trained) = outcome(FilterConfig { zero_variance: true, ..FilterConfig::default() });
    eprintln!("range: {skill:.2} from {trained} groups; zero variance: {all_skill:.2} from {all_trained}");
    assert_eq!(all_trained, 30 * BATCH, "zero variance leaves nothing out");
    assert!(skill > 2.0 * all_skill && trained < all_trained / 3);
}

#[test]
fn a_mixture_keeps_a_small_source_in_every_batch() {
    let small: Vec<_> = exercises(Task::Math, Form::Open, 0.0, 10).collect();
    let large: Vec<_> = exercises(Task::Vqa, Form::Open, 0.0, 400).collect();
    let outcome = |pool: Pool| {
        let mut class = Class::new(&CurriculumConfig::Shuffle, &FilterConfig::default(), pool);
        let groups = class.run(50);
        let of_small = groups.iter().filter(|scored| scored.group.sample.task == Task::Math).count();
        (
            of_small as f64 / groups.len() as f64,
            class.student.skill(Task::Math),
            class.student.skill(Task::Vqa),
        )
    };
    let weighted = outcome(Pool::new().with("small", 1.0, small.clone()).with("large", 3.0, large.clone()));
    let joined = outcome([small, large].concat().into());
    eprintln!(
        "weights 1 to 3: {weighted:.2?} (share, skill of the small, of the large); joined: {joined:.2?}"
    );
    assert_eq!(weighted.0, 0.25);
    assert!(joined.0 < 0.05 && weighted.1 > 5.0 * joined.1);
}
