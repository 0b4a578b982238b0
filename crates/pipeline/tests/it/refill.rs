//! Steps that ask again until they have enough groups, and curricula that change how answers are drawn.

use std::{collections::BTreeSet, sync::Arc};

use reft_core::{
    Curriculum, GroupFilter, Sample, SamplingParams, ScoredGroup, Seed, StageError, Stateful, Verdict,
};
use reft_pipeline::{Outcome, Phase, Stages};
use reft_store::{RunReader, read_rows};
use reft_testkit::{AskAgain, RoundRobin, TablePolicy, ToyGrpo, sums};
use serde_json::Value;

use crate::{
    interrupt::StopAfter,
    toy::{self, rl_stages},
};

/// Groups of two before step 10, of eight from then on.
struct GrowingGroups {
    inner: RoundRobin,
    step: u64,
}

impl Curriculum for GrowingGroups {
    fn next_batch(&mut self, step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        self.step = step;
        self.inner.next_batch(step, n)
    }
    fn adjust(&self, params: &mut SamplingParams) {
        params.group_size = if self.step < 10 { 2 } else { 8 };
    }
}

impl Stateful for GrowingGroups {
    fn save(&self) -> Result<Value, StageError> {
        self.inner.save()
    }
    fn load(&mut self, state: &Value) -> Result<(), StageError> {
        self.inner.load(state)
    }
}

fn refilled() -> Phase<TablePolicy> {
    Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 20);
        stages.curriculum = Box::new(GrowingGroups { inner: RoundRobin::new(sums(3)), step: 0 });
        stages.refill = Some(Box::new(AskAgain::default()));
        stages.optimizer = Box::new(ToyGrpo::new(0.5, 0.01));
        Ok(Stages::Rl(stages))
    })
}

#[test]
fn steps_are_filled_up_and_everything_asked_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    toy::run(&root, vec![refilled()], &mut ()).0.unwrap();
    let reader = RunReader::open(&root).unwrap();
    let metrics = reader.metrics().unwrap();
    let files = reader.completions("open").unwrap();
    let mut reasons = BTreeSet::new();
    let mut refilled = 0;
    for (step, (file, row)) in files.iter().zip(&metrics).enumerate() {
        let rows = read_rows(file).unwrap();
        let group_size = if step < 10 { 2 } else { 8 };
        let groups: Vec<&[_]> = rows.chunks(group_size).collect();
        let admitted = groups.iter().filter(|group| group[0]["verdict"] == "admit").count();
        reasons.extend(groups.iter().filter_map(|group| group[0]["reason"].as_str().map(str::to_owned)));
        assert!(admitted <= 4 && (admitted == 4 || groups.len() >= 8), "step {step}: {admitted}");
        assert_eq!(row.metrics.get("filter/admitted"), Some(admitted as f64 / groups.len() as f64));
        refilled += usize::from(groups.len() > 4);
    }
    assert_eq!(files.len(), 20);
    assert!(refilled > 5, "{refilled}");
    assert!(reasons.contains("surplus") && reasons.contains("zero_variance"), "{reasons:?}");
}

/// Trains on nothing, so that every step asks again.
struct RejectAll;

impl Stateful for RejectAll {}

impl GroupFilter for RejectAll {
    fn judge(&mut self, _group: &ScoredGroup) -> Verdict {
        Verdict::Reject { reason: "all".into() }
    }
}

#[test]
fn a_question_that_comes_again_in_a_step_gets_other_answers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let phase = Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 1);
        stages.prompts_per_step = 2;
        stages.curriculum = Box::new(RoundRobin::new(sums(2)));
        stages.filters = vec![Box::new(RejectAll)];
        stages.refill = Some(Box::new(AskAgain::default()));
        Ok(Stages::Rl(stages))
    });
    toy::run(&root, vec![phase], &mut ()).0.unwrap();
    let file = &RunReader::open(&root).unwrap().completions("open").unwrap()[0];
    let rows = read_rows(file).unwrap();
    let groups: Vec<Vec<&Value>> =
        rows.chunks(8).map(|group| group.iter().map(|row| &row["completion"]).collect()).collect();
    let questions: Vec<&Value> = rows.chunks(8).map(|group| &group[0]["sample"]).collect();
    assert_eq!((questions.len(), questions[0], questions[1]), (4, questions[2], questions[3]));
    assert_ne!(groups[0], groups[2]);
    assert_ne!(groups[1], groups[3]);
}

#[test]
fn stopping_between_the_calls_of_a_step_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
    toy::run(&whole, vec![refilled()], &mut ()).0.unwrap();
    let mut interruptions = 0_u64;
    loop {
        let budget = 14 + (Seed::new(5).at(interruptions).uniform() * 14.0) as usize;
        match toy::run(&pieces, vec![refilled()], &mut StopAfter(budget)).0.unwrap() {
            Outcome::Interrupted { .. } => interruptions += 1,
            Outcome::Finished { .. } => break,
        }
        assert!(interruptions < 100, "no progress between interruptions");
    }
    assert!(interruptions > 5, "{interruptions}");
    toy::assert_same_results(&whole, &pieces);
}

/// Cools down to greedy answers.
struct Freezing(RoundRobin);

impl Curriculum for Freezing {
    fn next_batch(&mut self, step: u64, n: usize) -> Result<Vec<Arc<Sample>>, StageError> {
        self.0.next_batch(step, n)
    }
    fn adjust(&self, params: &mut SamplingParams) {
        params.temperature = 0.0;
    }
}

impl Stateful for Freezing {}

#[test]
fn settings_that_a_curriculum_puts_out_of_range_stop_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let phase = Phase::new("open", |_, _| {
        let mut stages = rl_stages("open", 2);
        stages.curriculum = Box::new(Freezing(RoundRobin::new(sums(3))));
        Ok(Stages::Rl(stages))
    });
    let error = toy::run(&dir.path().join("run"), vec![phase], &mut ()).0.unwrap_err().to_string();
    assert!(
        error.contains("`adjust` has left `temperature` out of its range: is 0, so all completions"),
        "{error}"
    );
}
