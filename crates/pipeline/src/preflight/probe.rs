//! Whether the policy's answers to some questions differ, so that there is something to learn.

use std::{collections::BTreeMap, fmt, sync::Arc};

use reft_core::{Completion, FinishReason, Sample, SamplingParams, ScoredGroup, StageError};
use serde::Serialize;

use super::{Miss, PreflightError, error::nearest};
use crate::{RlStages, context::Context, fill, metrics, stopwatch::Stopwatch};

/// What the policy can do before training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Probe {
    /// Questions asked.
    questions: usize,
    /// Answers per question, G.
    group_size: usize,
    /// Questions with at least one right answer.
    passed: usize,
    /// Their share among the questions of each task.
    pass_at_g: BTreeMap<String, f64>,
    /// Share of groups whose rewards are all equal.
    useless: f64,
    /// Longest answer in tokens.
    max_new_tokens: usize,
    /// Share of answers that the length limit cut.
    truncated: f64,
    /// Share of answers that it cut before their thinking had ended.
    cut_thinking: f64,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = self.pass_at_g.iter().map(|(task, rate)| format!("{task} {:.0} %", 100.0 * rate));
        write!(
            f,
            "before training {} of {} questions can be answered in {} tries ({}); {:.0} % of the groups will teach \
             nothing; {:.0} % of the answers end within {} tokens, {:.0} % are cut while they think",
            self.passed,
            self.questions,
            self.group_size,
            rates.collect::<Vec<_>>().join(", "),
            100.0 * self.useless,
            100.0 * (1.0 - self.truncated),
            self.max_new_tokens,
            100.0 * self.cut_thinking
        )
    }
}

/// Asks the questions as a step would. None when there are none.
pub(super) fn probe<P: ?Sized>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut RlStages<P>,
    questions: &[Arc<Sample>],
) -> Result<Option<Probe>, StageError> {
    if questions.is_empty() {
        return Ok(None);
    }
    // As in a step, a batch is drawn first; the first step then finds the curriculum as it was.
    let state = stages.curriculum.save()?;
    stages.curriculum.next_batch(ctx.cursor.step, stages.prompts_per_step)?;
    let params = fill::adjusted(stages, ctx.phase_seed().at("preflight"))?;
    stages.curriculum.load(&state)?;
    // Nobody asks how long it takes.
    let mut clock = Stopwatch::start(ctx.peers);
    let SamplingParams { group_size, max_new_tokens, .. } = params;
    let questions = fill::Questions { samples: questions.to_vec(), params, has_begun: false };
    let scored = fill::answer(ctx, policy, stages, &mut clock, questions)?;

    let numbers = metrics::rl(&scored);
    let share = |name: &str| numbers.get(name).unwrap_or(0.0);
    let groups_of = |share: f64| (share * scored.len() as f64).round() as usize;
    let probe = Probe {
        questions: scored.len(),
        group_size,
        passed: scored.iter().filter(|group| passes(group)).count(),
        pass_at_g: pass_at_g(&scored),
        useless: share("reward/zero_std"),
        max_new_tokens,
        truncated: share("completion/truncated"),
        cut_thinking: cut_thinking(&scored),
    };
    if probe.useless < 1.0 {
        return Ok(Some(probe));
    }
    Err(PreflightError::NoSignal {
        questions: scored.len(),
        right: groups_of(share("groups/all_right")),
        wrong: groups_of(share("groups/all_wrong")),
        truncated: 100.0 * probe.truncated,
        misses: misses(&scored),
    }
    .into())
}

/// Whether any answer is right.
fn passes(group: &ScoredGroup) -> bool {
    group.accuracies().iter().any(|&accuracy| accuracy >= 1.0)
}

/// The share of answers that were cut before a think block was closed.
fn cut_thinking(scored: &[ScoredGroup]) -> f64 {
    let answers = || scored.iter().flat_map(|group| &group.group.completions);
    let is_cut = |answer: &&Completion| {
        let thinks = answer.think_opened || answer.text.contains("<think>");
        answer.finish == FinishReason::Length && thinks && !answer.text.contains("</think>")
    };
    answers().filter(is_cut).count() as f64 / answers().count().max(1) as f64
}

fn pass_at_g(scored: &[ScoredGroup]) -> BTreeMap<String, f64> {
    let mut passed: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for group in scored {
        let (right, n) = passed.entry(group.group.sample.task.to_string()).or_default();
        *right += u32::from(passes(group));
        *n += 1;
    }
    passed.into_iter().map(|(task, (right, n))| (task, f64::from(right) / f64::from(n))).collect()
}

/// The answers that were paid most without being right, one per question.
pub(crate) fn misses(scored: &[ScoredGroup]) -> Vec<Miss> {
    let of_group = |group: &ScoredGroup| {
        let answers = group.group.completions.iter().zip(group.totals()).zip(group.accuracies());
        let wrong = answers.filter(|(_, accuracy)| *accuracy < 1.0).map(|(answer, _)| answer);
        let (best, reward) = wrong.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let cut = if best.finish == FinishReason::Length { " [cut]" } else { "" };
        Some(Miss::new(&group.group.sample, &format!("{}{cut}", best.text), f64::from(reward)))
    };
    nearest(scored.iter().filter_map(of_group).collect())
}
