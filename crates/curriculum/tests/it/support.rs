//! Groups made by hand, and a loop in which a synthetic student learns.

use std::sync::Arc;

use reft_config::{CurriculumConfig, FilterConfig};
use reft_core::{
    Completion, Curriculum, Filled, Group, GroupFilter, Metrics, Refill, RewardParts, Sample, SamplingParams,
    ScoredGroup, Seed, Verdict,
};
use reft_curriculum::{Pool, build, filter, refill};
use reft_testkit::Student;

/// A group with rewards and advantages as given.
pub(crate) fn group(sample: &Arc<Sample>, totals: &[f32], advantages: &[f32]) -> ScoredGroup {
    ScoredGroup {
        group: Group {
            sample: Arc::clone(sample),
            prompt_tokens: 1,
            completions: vec![Completion::from_text("1"); totals.len()],
            policy_version: None,
            temperature: None,
        },
        rewards: totals.iter().map(|&total| RewardParts { total, ..RewardParts::default() }).collect(),
        advantages: advantages.to_vec(),
        verdict: Verdict::Admit,
    }
}

/// A group of `n` answers, the first `right` of them right.
pub(crate) fn right_and_wrong(sample: &Arc<Sample>, right: usize, n: usize) -> ScoredGroup {
    let totals: Vec<f32> = (0..n).map(|i| f32::from(i < right)).collect();
    let mean = right as f32 / n as f32;
    let advantages: Vec<f32> = totals.iter().map(|total| total - mean).collect();
    group(sample, &totals, &advantages)
}

/// The loop of a phase without its records: curriculum, answers, filters, refill, learning.
pub(crate) struct Class {
    pub(crate) student: Student,
    pub(crate) curriculum: Box<dyn Curriculum>,
    pub(crate) filters: Vec<Box<dyn GroupFilter>>,
    pub(crate) refill: Option<Box<dyn Refill>>,
    /// Changes groups before the filters see them.
    pub(crate) change: Option<Change>,
    pub(crate) step: u64,
}

/// What is done to a group.
pub(crate) type Change = Box<dyn Fn(&mut ScoredGroup)>;

/// Groups a step.
pub(crate) const BATCH: usize = 8;

impl Class {
    pub(crate) fn new(curriculum: &CurriculumConfig, filter: &FilterConfig, pool: impl Into<Pool>) -> Self {
        let seed = Seed::new(11);
        Self {
            student: Student::new(0.1),
            curriculum: build(curriculum, pool, seed.at("curriculum")).unwrap(),
            filters: filter::build(filter),
            refill: refill::build(&filter.refill),
            change: None,
            step: 0,
        }
    }

    /// One step; every group of it.
    pub(crate) fn step(&mut self) -> Vec<ScoredGroup> {
        let mut groups = Vec::new();
        let mut filled = Filled { wanted: BATCH, ..Filled::default() };
        loop {
            let questions = match &mut self.refill {
                Some(refill) => refill.ask(&filled),
                None => {
                    if filled.rounds == 0 {
                        BATCH
                    } else {
                        0
                    }
                }
            };
            if questions == 0 {
                break;
            }
            let samples = self.curriculum.next_batch(self.step, questions).unwrap();
            let seed = Seed::new(5).at(self.step).at(filled.rounds);
            let mut params = SamplingParams { group_size: 8, seed, ..SamplingParams::greedy(512) };
            self.curriculum.adjust(&mut params);
            let mut round = self.student.answer(&samples, &params);
            for group in &mut round {
                if let Some(change) = &self.change {
                    change(group);
                }
                let mut verdicts = self.filters.iter_mut().map(|filter| filter.judge(group));
                let rejected = verdicts.find(|verdict| *verdict != Verdict::Admit);
                group.verdict = rejected.unwrap_or(Verdict::Admit);
            }
            filled.rounds += 1;
            filled.asked += round.len();
            filled.admitted += round.iter().filter(|group| group.is_admitted()).count();
            groups.extend(round);
        }
        if let Some(refill) = &mut self.refill {
            refill.observe(&filled);
        }
        self.student.learn(&groups);
        self.curriculum.observe(&groups);
        self.step += 1;
        groups
    }

    /// So many steps; every group of them.
    pub(crate) fn run(&mut self, steps: usize) -> Vec<ScoredGroup> {
        (0..steps).flat_map(|_| self.step()).collect()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = self.curriculum.metrics();
        if let Some(refill) = &self.refill {
            metrics.merge(refill.metrics());
        }
        metrics
    }
}

/// The share of groups whose answers differ.
pub(crate) fn mixed(groups: &[ScoredGroup]) -> f64 {
    let mixed = groups.iter().filter(|group| (0.01..0.99).contains(&group.pass_rate())).count();
    mixed as f64 / groups.len() as f64
}
