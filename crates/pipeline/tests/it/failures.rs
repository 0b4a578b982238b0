//! What goes wrong says where, why, and what is left.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use reft_core::{
    AdvantageEstimator, Checkpointed, Completion, CutAnswers, Judge, Judgement, Metrics, PolicyOptimizer,
    Reward, RewardOutcome, RewardParts, RunStore, Sample, ScoredGroup, StageError,
};
use reft_pipeline::{Outcome, Phase, RunError, Stages};
use reft_store::{KeptBatch, MetricRow, RunReader};
use reft_testkit::{BestAbove, ScriptedEngine, TablePolicy, ToyEngine, ToyGrpo};

use serde_json::{Value, json};

use crate::{
    cut::Cut,
    toy::{self, rl_stages},
};

/// A learner whose loss is not a number from some update on.
struct Diverges {
    inner: ToyGrpo,
    updates_left: u32,
}

impl Checkpointed for Diverges {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.inner.save(dir)
    }
    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.inner.load(dir)
    }
}

impl PolicyOptimizer<TablePolicy> for Diverges {
    fn begin_phase(&mut self, policy: &TablePolicy) -> Result<(), StageError> {
        self.inner.begin_phase(policy)
    }

    fn update(&mut self, policy: &mut TablePolicy, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        let mut metrics = self.inner.update(policy, groups)?;
        if self.updates_left == 0 {
            metrics.set("grpo/loss", f64::NAN);
        }
        self.updates_left = self.updates_left.saturating_sub(1);
        Ok(metrics)
    }
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, failed) = (dir.path().join("whole"), dir.path().join("failed"));
    let good = || {
        vec![Phase::new("open", |_: &mut TablePolicy, _: &dyn RunStore| {
            Ok(Stages::Rl(rl_stages("open", 20)))
        })]
    };
    toy::run(&whole, good(), &mut ()).0.unwrap();

    let diverging = Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 20);
        stages.optimizer = Box::new(Diverges { inner: ToyGrpo::new(2.0, 0.01), updates_left: 12 });
        Ok(Stages::Rl(stages))
    });
    let error = toy::run(&failed, vec![diverging], &mut ()).0.unwrap_err();
    let RunError::NonFinite { phase, step, what, checkpoint } = &error else {
        panic!("{error}");
    };
    assert_eq!((phase.as_str(), *step, *what), ("open", 13, "loss"));
    assert_eq!(checkpoint.as_deref(), Some(failed.join("checkpoints/step_000010").as_path()));
    assert!(error.to_string().contains("step_000010"), "{error}");

    toy::run(&failed, good(), &mut ()).0.unwrap();
    toy::assert_same_results(&whole, &failed);
}

/// A learner that leaves some updates out, and knows why.
struct LeavesOut {
    inner: ToyGrpo,
    /// Updates by number, from 1.
    left_out: std::ops::RangeInclusive<u32>,
    seen: u32,
}

impl Checkpointed for LeavesOut {
    fn save(&self, dir: &std::path::Path) -> Result<(), StageError> {
        std::fs::write(dir.join("seen"), self.seen.to_string()).map_err(|e| StageError::file(dir, e))?;
        self.inner.save(dir)
    }
    fn load(&mut self, dir: &std::path::Path) -> Result<(), StageError> {
        let seen = std::fs::read_to_string(dir.join("seen")).map_err(|e| StageError::file(dir, e))?;
        self.seen = seen.parse().unwrap();
        self.inner.load(dir)
    }
}

impl PolicyOptimizer<TablePolicy> for LeavesOut {
    fn begin_phase(&mut self, policy: &TablePolicy) -> Result<(), StageError> {
        self.inner.begin_phase(policy)
    }

    fn update(&mut self, policy: &mut TablePolicy, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        self.seen += 1;
        if self.left_out.contains(&self.seen) {
            return Err(StageError::NonFinite { what: "gradient", step: u64::from(self.seen), applied: 0 });
        }
        self.inner.update(policy, groups)
    }

    fn diagnose(&mut self, _: &mut TablePolicy, groups: &[ScoredGroup]) -> Result<Value, StageError> {
        Ok(json!({"groups": groups.len()}))
    }
}

fn leaving_out(left_out: std::ops::RangeInclusive<u32>) -> Vec<Phase<TablePolicy>> {
    vec![Phase::new("open", move |_, _| {
        let mut stages = rl_stages("open", 20);
        let inner = ToyGrpo::new(2.0, 0.01);
        stages.optimizer = Box::new(LeavesOut { inner, left_out: left_out.clone(), seen: 0 });
        Ok(Stages::Rl(stages))
    })]
}

#[test]
fn an_update_that_is_not_finite_is_left_out_and_its_batch_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    toy::run(&root, leaving_out(4..=5), &mut ()).0.unwrap();

    let reader = RunReader::open(&root).unwrap();
    let skipped = |row: &MetricRow| row.metrics.get("grpo/skipped").map(|n| (row.step, n));
    let rows = reader.metrics().unwrap();
    assert_eq!(rows.iter().filter_map(skipped).collect::<Vec<_>>(), [(4, 1.0), (5, 2.0)]);
    assert_eq!(rows.len(), 20);
    let events = reader.events().unwrap();
    let events: Vec<_> = events.iter().filter(|event| event["event"] == "skipped_update").collect();
    assert_eq!(events.len(), 2);
    assert_eq!((&events[1]["what"], &events[1]["in_a_row"]), (&json!("gradient"), &json!(2)));

    let earlier = KeptBatch::read(&root.join("non_finite/open/step_000004")).unwrap();
    assert!(earlier.policy.is_none(), "weights are kept with the newest batch alone");
    let kept = KeptBatch::read(&root.join("non_finite/open/step_000005")).unwrap();
    assert_eq!((kept.phase.as_str(), kept.step, kept.what.as_str()), ("open", 5, "gradient"));
    assert_eq!(kept.diagnosis["groups"], json!(kept.groups.len()));
    assert!(!kept.groups.is_empty() && kept.groups.iter().all(ScoredGroup::is_admitted));
    let mut policy = TablePolicy::new();
    policy.load(&kept.policy.unwrap()).unwrap();
}

#[test]
fn too_many_updates_left_out_in_a_row_stop_the_run_and_a_resume_still_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    // Steps 9 and 10 are left out before the checkpoint at 10, step 11 after it: the third in a row.
    for _ in 0..2 {
        let error = toy::run(&root, leaving_out(9..=11), &mut ()).0.unwrap_err();
        let RunError::NonFinite { step, what, checkpoint, .. } = &error else { panic!("{error}") };
        assert_eq!((*step, *what), (11, "gradient"));
        assert_eq!(checkpoint.as_deref(), Some(root.join("checkpoints/step_000010").as_path()));
        assert!(root.join("non_finite/open/step_000011/batch.json").exists());
    }
    // With the cause removed, the run goes on from there.
    toy::run(&root, leaving_out(9..=10), &mut ()).0.unwrap();
    assert!(!root.join("non_finite/open/step_000011").exists(), "it is a step that was taken back");
}

/// Forgets one completion of each group.
struct OneTooFew;

impl Reward for OneTooFew {
    fn name(&self) -> &'static str {
        "one_too_few"
    }
    fn score(&self, _: &Sample, _: &Completion) -> Result<f32, StageError> {
        Ok(0.0)
    }
    fn score_group(&self, group: &reft_core::Group) -> Result<Vec<RewardParts>, StageError> {
        Ok(vec![RewardParts::default(); group.completions.len() - 1])
    }
}

#[test]
fn a_stage_that_breaks_its_contract_is_named_with_place_and_sample() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 20);
        stages.reward = Box::new(OneTooFew);
        Ok(Stages::Rl(stages))
    });
    let error = toy::run(&dir.path().join("run"), vec![broken], &mut ()).0;
    assert_eq!(
        error.unwrap_err().to_string(),
        "phase `open`, step 1: sample `sum-0-0`: one_too_few gave 7 rewards for 8 completions; give one for each"
    );
}

/// Never has a score.
struct Down;

impl Reward for Down {
    fn name(&self) -> &'static str {
        "down"
    }
    fn score(&self, _: &Sample, _: &Completion) -> Result<f32, StageError> {
        Ok(0.0)
    }
    fn score_parts(&self, _: &Sample, _: &Completion) -> Result<RewardParts, StageError> {
        let outcome = RewardOutcome::Failed { reason: "no connection".into() };
        Ok(RewardParts { outcome, ..RewardParts::default() })
    }
}

#[test]
fn a_reward_without_any_score_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let down = Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 20);
        stages.reward = Box::new(Down);
        Ok(Stages::Rl(stages))
    });
    let error = toy::run(&dir.path().join("run"), vec![down], &mut ()).0.unwrap_err().to_string();
    assert!(error.starts_with("phase `open`, step 1: reward `down`: none of "), "{error}");
    assert!(error.ends_with("answers has a score: no connection"), "{error}");
}

/// Fails for some of the answers to a question.
struct Flaky;

impl Reward for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }
    fn score(&self, _: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(completion.token_ids.iter().sum::<i64>() as f32)
    }
    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let total = self.score(sample, completion)?;
        if total as i64 % 2 == 0 {
            let outcome = RewardOutcome::Failed { reason: "no connection".into() };
            return Ok(RewardParts { outcome, ..RewardParts::default() });
        }
        Ok(RewardParts::single("flaky", total))
    }
}

/// Remembers how many rewards of a group it saw.
struct Counts(Arc<Mutex<Vec<usize>>>);

impl AdvantageEstimator for Counts {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        self.0.lock().unwrap().push(rewards.len());
        vec![0.0; rewards.len()]
    }
}

#[test]
fn failed_rewards_leave_the_statistics_of_their_group() {
    let seen = |pay_zero: bool| {
        let dir = tempfile::tempdir().unwrap();
        let counts = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&counts);
        let phase = Phase::new("open", move |_, _| {
            let mut stages = rl_stages("open", 3);
            stages.reward = Box::new(Flaky);
            stages.advantage = Arc::new(Counts(Arc::clone(&shared)));
            stages.pay_zero = pay_zero;
            Ok(Stages::Rl(stages))
        });
        toy::run(&dir.path().join("run"), vec![phase], &mut ()).0.unwrap();
        let counts = counts.lock().unwrap();
        counts.clone()
    };
    let (left_out, paid) = (seen(false), seen(true));
    assert!(paid.iter().all(|&n| n == 8), "{paid:?}");
    assert!(left_out.iter().any(|&n| n < 8) && left_out.iter().all(|&n| n > 0), "{left_out:?}");
}

/// Keeps what the optimizer is given.
struct Seen(ToyGrpo, Arc<Mutex<Vec<ScoredGroup>>>);

impl Checkpointed for Seen {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.0.save(dir)
    }
    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.0.load(dir)
    }
}

impl PolicyOptimizer<TablePolicy> for Seen {
    fn begin_phase(&mut self, policy: &TablePolicy) -> Result<(), StageError> {
        self.0.begin_phase(policy)
    }
    fn update(&mut self, policy: &mut TablePolicy, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        self.1.lock().unwrap().extend_from_slice(groups);
        self.0.update(policy, groups)
    }
}

#[test]
fn cut_answers_count_for_what_the_phase_says() {
    for (counts, teaches, left_out) in [
        (CutAnswers::Learn, true, false),
        (CutAnswers::Mask, false, false),
        (CutAnswers::LeaveOut, false, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        let phase = Phase::new("open", move |_, _| {
            let mut stages = rl_stages("open", 2);
            stages.rollout = Box::new(Cut { engine: ToyEngine, from: 4 });
            stages.cut_answers = counts;
            stages.optimizer = Box::new(Seen(ToyGrpo::new(2.0, 0.01), Arc::clone(&shared)));
            Ok(Stages::Rl(stages))
        });
        toy::run(&dir.path().join("run"), vec![phase], &mut ()).0.unwrap();
        let groups = seen.lock().unwrap();
        assert!(!groups.is_empty());
        for group in groups.iter() {
            assert!(group.rewards[..4].iter().all(RewardParts::teaches));
            for reward in &group.rewards[4..] {
                assert_eq!((reward.teaches(), reward.left_out), (teaches, left_out), "{counts:?}");
            }
        }
    }
}

/// Cannot judge one of the questions.
struct Overwhelmed;

impl Judge for Overwhelmed {
    fn name(&self) -> &'static str {
        "overwhelmed"
    }
    fn judge(&self, sample: &Sample, _: &Completion) -> Result<Judgement, StageError> {
        if sample.id.as_str() == "sum-1-1" {
            return Err(StageError::sample(&sample.id, "too hard to judge"));
        }
        Ok(Judgement { score: 0.0, reason: String::new() })
    }
}

#[test]
fn an_error_in_a_chunk_names_the_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let phase = Phase::new("reject", |_, _| {
        let mut stages = toy::reject_stages();
        stages.judge = Box::new(Overwhelmed);
        Ok(Stages::Reject(stages))
    });
    let error = toy::run(&dir.path().join("run"), vec![phase], &mut ()).0;
    assert_eq!(error.unwrap_err().to_string(), "phase `reject`, step 2: sample `sum-1-1`: too hard to judge");
}

/// What a run has said.
#[derive(Default)]
struct Messages(Vec<String>);

impl reft_pipeline::Observer for Messages {
    fn message(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

#[test]
fn a_phase_without_signal_is_reported_and_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mute = Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 2);
        stages.rollout = Box::new(ScriptedEngine { texts: vec!["gibberish".into()] });
        Ok(Stages::Rl(stages))
    });
    let mut messages = Messages::default();
    let (outcome, policy) = toy::run(&dir.path().join("run"), vec![mute], &mut messages);
    outcome.unwrap();
    assert_eq!(policy, TablePolicy::new());
    assert_eq!(messages.0.len(), 2);
    assert!(messages.0[0].contains("no learning signal") && messages.0[0].contains("100 % all wrong"));
}

#[test]
fn where_nothing_was_kept_nothing_is_imitated_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let strict = Phase::new("reject", |_, _| {
        let mut stages = toy::reject_stages();
        stages.selector = Box::new(BestAbove(101.0));
        Ok(Stages::Reject(stages))
    });
    let phases = vec![strict, toy::sft("sft", 3, "reject"), toy::eval("final")];
    let mut messages = Messages::default();
    let (outcome, policy) = toy::run(&dir.path().join("run"), phases, &mut messages);
    assert_eq!(outcome.unwrap(), Outcome::Finished { global_step: 0 });
    assert_eq!(policy, TablePolicy::new());
    assert!(dir.path().join("run/final").is_dir() && dir.path().join("run/eval/final").is_dir());
    assert!(
        messages
            .0
            .iter()
            .any(|text| text.starts_with("phase `sft` is passed over") && text.contains("threshold")),
        "{:?}",
        messages.0
    );
}

#[test]
fn names_taken_twice_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let twice = vec![toy::eval("same"), toy::eval("same")];
    let error = toy::run(&dir.path().join("b"), twice, &mut ()).0;
    assert!(matches!(error.unwrap_err(), RunError::DuplicatePhase(name) if name == "same"));
}
