//! What goes wrong says where, why, and what is left.

use reft_core::{
    Checkpointed, Completion, Judge, Judgement, Metrics, PolicyOptimizer, Reward, RewardParts, Sample,
    ScoredGroup, StageError,
};
use reft_pipeline::{Phase, RunError, Stages};
use reft_testkit::{BestAbove, ScriptedEngine, TablePolicy, ToyGrpo};

use crate::toy::{self, rl_stages};

/// A learner whose loss is not a number from some update on.
struct Diverges {
    inner: ToyGrpo,
    updates_left: u32,
}

impl Checkpointed for Diverges {
    fn save(&self, dir: &std::path::Path) -> Result<(), StageError> {
        self.inner.save(dir)
    }
    fn load(&mut self, dir: &std::path::Path) -> Result<(), StageError> {
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
    let good = || vec![toy::rl("open", 20)];
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

#[test]
fn a_phase_without_signal_is_reported_and_moves_nothing() {
    #[derive(Default)]
    struct Messages(Vec<String>);
    impl reft_pipeline::Observer for Messages {
        fn message(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }
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
fn nothing_kept_and_names_taken_twice_are_errors_that_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let strict = Phase::new("reject", |_, _| {
        let mut stages = toy::reject_stages();
        stages.selector = Box::new(BestAbove(101.0));
        Ok(Stages::Reject(stages))
    });
    let phases = vec![strict, toy::sft("sft", 3, "reject")];
    let error = toy::run(&dir.path().join("a"), phases, &mut ()).0;
    let message = error.unwrap_err().to_string();
    assert!(message.starts_with("phase `sft`, step 1: data: there is nothing to imitate"), "{message}");

    let twice = vec![toy::eval("same"), toy::eval("same")];
    let error = toy::run(&dir.path().join("b"), twice, &mut ()).0;
    assert!(matches!(error.unwrap_err(), RunError::DuplicatePhase(name) if name == "same"));
}
