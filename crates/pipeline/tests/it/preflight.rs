//! Phases that should not start, and what is said about them.

use std::sync::Arc;

use reft_core::{Completion, Demonstration, Form, Reward, RewardParts, Sample, StageError};
use reft_pipeline::{Outcome, Phase, Preflight, Stages, self_test};
use reft_store::RunReader;
use reft_testkit::{ScriptedEngine, TablePolicy, ToyReward, as_binary, as_choice, demonstration, sums};

use crate::{
    interrupt::StopAfter,
    toy::{self, rl_stages},
};

fn solutions(samples: &[Arc<Sample>]) -> Vec<Demonstration> {
    samples.iter().map(demonstration).collect()
}

/// What is said of a reward on open sums.
fn refusal(reward: &dyn Reward, solutions: &[Demonstration]) -> String {
    self_test(reward, solutions, &mut |_, _| true).unwrap_err().to_string()
}

/// Pays accuracy and format by a rule that is given.
struct Pays<F>(F);

impl<F: Fn(&Sample, &str) -> f32 + Send + Sync> Reward for Pays<F> {
    fn name(&self) -> &'static str {
        "pays"
    }
    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        Ok(self.score_parts(sample, completion)?.total)
    }
    fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
        let accuracy = (self.0)(sample, &completion.text);
        Ok(RewardParts::single("accuracy", accuracy))
    }
}

#[test]
fn a_sound_reward_passes_on_every_form() {
    let open = sums(12);
    let all = [as_binary(&open), as_choice(&open), open].concat();
    let tested = self_test(&ToyReward, &solutions(&all), &mut |_, _| true).unwrap();
    let kinds: Vec<&str> = tested.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["binary math", "choice math", "open math"]);
    for (kind, test) in &tested {
        assert_eq!((test.samples, test.own, test.shuffled), (12, 1.0, Some(0.0)), "{kind}");
        assert_eq!((test.unpaid, test.format), (0, Some(1.0)), "{kind}");
    }
}

#[test]
fn solutions_that_are_all_alike_cannot_be_shuffled() {
    let yes: Vec<_> = as_binary(&sums(12)).into_iter().filter(|sample| sample.solution == "yes").collect();
    let tested = self_test(&ToyReward, &solutions(&yes), &mut |_, _| true).unwrap();
    assert_eq!(tested["binary math"].shuffled, None);
    assert!(self_test(&ToyReward, &[], &mut |_, _| true).unwrap().is_empty());
}

#[test]
fn a_reward_that_pays_everybody_is_refused() {
    let error = refusal(&Pays(|_: &Sample, _: &str| 1.0), &solutions(&sums(12)));
    for expected in [
        "pays the solutions of other `open math` samples 1.00 on average, a sample's own 1.00",
        "sum-0-0 pays 1.00: \"<think>hm</think><answer>1</answer>\", right is \"0\"",
        "`preflight.enabled = false`",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(error.matches(" pays 1.00: ").count(), 3, "{error}");
    // Nearly everybody: digits of one answer occur in the other's text.
    let substring = Pays(|sample: &Sample, text: &str| {
        f32::from(text.contains(&sample.solution) || sample.solution.parse::<u32>().is_ok_and(|n| n > 1))
    });
    assert!(refusal(&substring, &solutions(&sums(30))).contains("does not tell right from wrong"));
}

#[test]
fn solutions_that_the_reward_cannot_read_are_refused() {
    let picky =
        Pays(
            |sample: &Sample, text: &str| {
                if text.contains(&format!("<answer>{}.0</answer>", sample.solution)) { 1.0 } else { 0.25 }
            },
        );
    let error = refusal(&picky, &solutions(&sums(12)));
    for expected in
        ["solutions of `open math` samples themselves a mean accuracy of 0.25", "sum-0-0 pays 0.25"]
    {
        assert!(error.contains(expected), "{error}");
    }
    // One broken solution in twelve is the sample's fault, not the reward's.
    let mut some = solutions(&sums(12));
    some[3].completion = "<answer>".into();
    assert_eq!(self_test(&ToyReward, &some, &mut |_, _| true).unwrap()["open math"].unpaid, 1);
}

#[test]
fn a_format_that_the_question_does_not_ask_for_is_refused() {
    /// Wants a box, whatever is asked (Curr-ReFT's published code).
    struct WantsBox;
    impl Reward for WantsBox {
        fn name(&self) -> &'static str {
            "wants_box"
        }
        fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
            Ok(self.score_parts(sample, completion)?.total)
        }
        fn score_parts(&self, sample: &Sample, completion: &Completion) -> Result<RewardParts, StageError> {
            let accuracy = ToyReward.score_parts(sample, completion)?.part("accuracy").unwrap();
            let format = f32::from(completion.text.contains('['));
            let parts = vec![("accuracy".into(), accuracy), ("format".into(), format)];
            Ok(RewardParts { total: accuracy + format, parts, ..RewardParts::default() })
        }
    }
    let error = refusal(&WantsBox, &solutions(&as_binary(&sums(12))));
    for expected in
        ["right answers to `binary math` questions", "a mean format of 0.00", "sum-0-0-binary pays 1.00"]
    {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_reward_without_accuracy_must_fall_too() {
    struct Constant;
    impl Reward for Constant {
        fn name(&self) -> &'static str {
            "constant"
        }
        fn score(&self, _: &Sample, _: &Completion) -> Result<f32, StageError> {
            Ok(0.3)
        }
    }
    assert!(
        refusal(&Constant, &solutions(&sums(5))).contains("samples 0.30 on average, a sample's own 0.30")
    );
}

/// A phase that is checked with these answers in place of the policy's.
fn checked(answers: &'static [&'static str]) -> Phase<TablePolicy> {
    Phase::new("open", move |_, _| {
        let mut stages = rl_stages("open", 6);
        stages.rollout =
            Box::new(ScriptedEngine { texts: answers.iter().map(|&text| text.into()).collect() });
        let questions = sums(6);
        stages.preflight =
            Some(Preflight { solutions: solutions(&questions), questions, ..Preflight::default() });
        Ok(Stages::Rl(stages))
    })
}

#[test]
fn answers_that_teach_nothing_are_refused_with_the_nearest_misses() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let (outcome, policy) =
        toy::run(&root, vec![checked(&["<think>hm</think><answer>nine</answer>"])], &mut ());
    let error = outcome.unwrap_err().to_string();
    for expected in [
        "phase `open`, step 1: preflight: the answers to all 6 questions",
        "0 all right, 6 all wrong, 0 % of the answers cut",
        "sum-0-0 pays 1.00: \"<think>hm</think><answer>nine</answer>\", right is \"0\"",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(error.matches("pays 1.00").count(), 3, "{error}");
    assert_eq!(policy, TablePolicy::new());
    assert!(RunReader::open(&root).unwrap().metrics().unwrap().is_empty());
}

#[test]
fn what_was_found_is_an_event_and_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (with, without) = (dir.path().join("with"), dir.path().join("without"));
    let phase = |check: bool| {
        Phase::new("open", move |_: &mut TablePolicy, _| {
            let mut stages = rl_stages("open", 6);
            let questions = sums(6);
            stages.preflight = check.then(|| Preflight {
                solutions: solutions(&questions),
                questions,
                ..Preflight::default()
            });
            Ok(Stages::Rl(stages))
        })
    };
    let stopped = toy::run(&with, vec![phase(true)], &mut StopAfter(3)).0.unwrap();
    assert_eq!(stopped, Outcome::Interrupted { phase: "open".into(), step: 0, checkpoint: None });
    let outcome = toy::run(&with, vec![phase(true)], &mut ()).0.unwrap();
    assert_eq!(outcome, Outcome::Finished { global_step: 6 });
    toy::run(&without, vec![phase(false)], &mut ()).0.unwrap();
    toy::assert_same_results(&without, &with);

    let events = RunReader::open(&with).unwrap().events().unwrap();
    let found: Vec<_> = events.iter().filter(|event| event["event"] == "preflight").collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["reward"][format!("{} math", Form::Open)]["own"], 1.0);
    assert_eq!(found[0]["policy"]["passed"].as_u64().map(|n| n > 0), Some(true));
    assert_eq!((&found[0]["policy"]["questions"], &found[0]["policy"]["group_size"]), (&6.into(), &8.into()));
    assert!(found[0]["policy"]["pass_at_g"]["math"].as_f64().is_some_and(|rate| rate > 0.0));
}
