//! The groups of a reinforcement learning step: asked, answered, scored and judged, once or until there are enough.

use std::sync::Arc;

use reft_core::{
    CutAnswers, Filled, FinishReason, Group, RewardOutcome, RewardParts, Sample, SamplingParams, ScoredGroup,
    Seed, StageError, Verdict, step_advantages,
};

use crate::{
    RlStages,
    context::{Context, seeded},
    metrics, parallel,
    share::{Answers, share},
    stopwatch::Stopwatch,
};

/// What is asked in one rollout call.
pub(crate) struct Questions {
    pub(crate) samples: Vec<Arc<Sample>>,
    pub(crate) params: SamplingParams,
    /// Whether the engine was told before, so that its answers take no time that could be measured.
    pub(crate) has_begun: bool,
}

/// Every group of the step, rejected ones too. `first` are questions that were drawn before; without them the curriculum
/// is asked. Empty when it has no more samples.
pub(crate) fn fill<P: ?Sized>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut RlStages<P>,
    clock: &mut Stopwatch,
    mut first: Option<Questions>,
) -> Result<Vec<ScoredGroup>, StageError> {
    let mut scored = Vec::new();
    let mut filled = Filled { wanted: stages.prompts_per_step, ..Filled::default() };
    loop {
        let questions = match first.take() {
            Some(questions) => questions,
            None => match draw(stages, ctx.phase_seed(), ctx.cursor.step, &filled)? {
                Some(questions) => questions,
                None => break,
            },
        };
        let more = round(ctx, policy, stages, clock, questions)?;
        filled.rounds += 1;
        filled.asked += more.len();
        filled.admitted += more.iter().filter(|group| group.is_admitted()).count();
        scored.extend(more);
    }
    if let Some(refill) = &mut stages.refill {
        refill.observe(&filled);
        reject_surplus(&mut scored, filled.wanted);
    }
    Ok(scored)
}

/// The next questions of a step; none where it has enough, or the curriculum has no more.
pub(crate) fn draw<P: ?Sized>(
    stages: &mut RlStages<P>,
    phase: Seed,
    step: u64,
    filled: &Filled,
) -> Result<Option<Questions>, StageError> {
    let n = ask(stages, filled);
    let samples = if n == 0 { Vec::new() } else { stages.curriculum.next_batch(step, n)? };
    if samples.is_empty() {
        return Ok(None);
    }
    let seed = phase.at(step);
    // A question that comes twice in a step must not be answered by the same random numbers.
    let seed = if filled.rounds == 0 { seed } else { seed.at("refill").at(filled.rounds) };
    Ok(Some(Questions { samples, params: adjusted(stages, seed)?, has_begun: false }))
}

/// How many questions come next: without a refill, one batch.
fn ask<P: ?Sized>(stages: &mut RlStages<P>, filled: &Filled) -> usize {
    match &mut stages.refill {
        Some(refill) => refill.ask(filled),
        None if filled.rounds == 0 => filled.wanted,
        None => 0,
    }
}

/// One rollout call of the step, from questions to verdicts.
fn round<P: ?Sized>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut RlStages<P>,
    clock: &mut Stopwatch,
    questions: Questions,
) -> Result<Vec<ScoredGroup>, StageError> {
    let mut scored = answer(ctx, policy, stages, clock, questions)?;
    for group in &mut scored {
        group.verdict = verdict(stages, group);
    }
    clock.lap("reward");
    Ok(scored)
}

/// Answers, rewards and advantages of some questions, each answered and scored by one rank: a program that gives rewards is
/// asked once.
pub(crate) fn answer<P: ?Sized>(
    ctx: &mut Context<'_>,
    policy: &P,
    stages: &mut RlStages<P>,
    clock: &mut Stopwatch,
    Questions { samples, params, has_begun }: Questions,
) -> Result<Vec<ScoredGroup>, StageError> {
    let costs = ctx.expected.tokens(samples.iter().map(AsRef::as_ref), params.group_size);
    let (peers, observer) = (ctx.peers, &mut *ctx.observer);
    let answered = share(peers, &costs, |own| {
        let questions: Vec<_> = own.iter().map(|&i| Arc::clone(&samples[i])).collect();
        let groups = stages.rollout.generate(policy, &questions, &params, &mut |done, total| {
            observer.progress(done, total);
            !observer.should_stop()
        })?;
        clock.lap_rollout(metrics::tokens(&groups), has_begun);
        let rewards = rewards(stages, &groups)?;
        clock.lap("reward");
        let answers = |(group, marks): (Group, Vec<RewardParts>)| Answers {
            prompt_tokens: group.prompt_tokens,
            completions: group.completions,
            marks,
            lag: stages.rollout.lag(),
        };
        Ok(groups.into_iter().zip(rewards).map(answers).collect())
    })?;
    if peers.size() > 1 {
        clock.skip();
    }
    let (mut groups, mut rewards) = (Vec::new(), Vec::new());
    for (sample, answers) in samples.into_iter().zip(answered) {
        ctx.expected.observe(&sample, &answers.completions);
        groups.push(Group {
            sample,
            prompt_tokens: answers.prompt_tokens,
            completions: answers.completions,
            policy_version: Some(ctx.cursor.global_step.saturating_sub(answers.lag)),
            temperature: Some(params.temperature),
        });
        rewards.push(answers.marks);
    }
    compare(stages, groups, rewards)
}

/// How the step's answers are drawn, once the curriculum has had its say.
pub(crate) fn adjusted<P: ?Sized>(stages: &RlStages<P>, seed: Seed) -> Result<SamplingParams, StageError> {
    let mut params = seeded(&stages.sampling, seed);
    stages.curriculum.adjust(&mut params);
    match params.problems().first() {
        Some((field, message)) => Err(StageError::other(
            "curriculum",
            format!("`adjust` has left `{field}` out of its range: {message}"),
        )),
        None => Ok(params),
    }
}

/// `[groups][G]` rewards.
fn rewards<P: ?Sized>(stages: &RlStages<P>, groups: &[Group]) -> Result<Vec<Vec<RewardParts>>, StageError> {
    let (reward, pay_zero, cut_answers) = (stages.reward.as_ref(), stages.pay_zero, stages.cut_answers);
    parallel::try_map(groups, |group| {
        let mut rewards = reward.score_group(group)?;
        same_length("rewards", reward.name(), rewards.len(), group)?;
        for (reward, completion) in rewards.iter_mut().zip(&group.completions) {
            let is_cut = completion.finish == FinishReason::Length;
            let has_no_score = !pay_zero && reward.outcome != RewardOutcome::Score;
            reward.left_out = has_no_score || (is_cut && cut_answers == CutAnswers::LeaveOut);
            reward.masked = is_cut && cut_answers == CutAnswers::Mask;
        }
        Ok(rewards)
    })
}

/// Groups with their rewards and what these are worth beside each other.
fn compare<P: ?Sized>(
    stages: &RlStages<P>,
    groups: Vec<Group>,
    rewards: Vec<Vec<RewardParts>>,
) -> Result<Vec<ScoredGroup>, StageError> {
    some_scored(stages.reward.name(), &rewards)?;
    let mut advantages = step_advantages(&*stages.advantage, &rewards).into_iter();
    groups
        .into_iter()
        .zip(rewards)
        .map(|(group, rewards)| {
            // A group that the estimator forgot has no advantages, which the next line reports.
            let advantages = advantages.next().unwrap_or_default();
            same_length("advantages", "the estimator", advantages.len(), &group)?;
            Ok(ScoredGroup { group, rewards, advantages, verdict: Verdict::Admit })
        })
        .collect()
}

/// A few answers may go without a score. A reward that never has one would let the run train on nothing for hours.
fn some_scored(name: &str, rewards: &[Vec<RewardParts>]) -> Result<(), StageError> {
    let reasons: Option<Vec<&str>> = rewards.iter().flatten().map(|reward| reward.outcome.reason()).collect();
    match reasons.as_deref() {
        // Some have a score, or there is nothing to score.
        None | Some([]) => Ok(()),
        Some(all @ [first, ..]) => {
            let n = all.len();
            Err(StageError::other(
                format!("reward `{name}`"),
                format!("none of {n} answers has a score: {first}"),
            ))
        }
    }
}

/// What the first filter that rejects says.
fn verdict<P: ?Sized>(stages: &mut RlStages<P>, group: &ScoredGroup) -> Verdict {
    stages
        .filters
        .iter_mut()
        .map(|filter| filter.judge(group))
        .find(|verdict| *verdict != Verdict::Admit)
        .unwrap_or(Verdict::Admit)
}

/// Keeps the first `wanted` admitted groups, so that every update averages over as many.
fn reject_surplus(groups: &mut [ScoredGroup], wanted: usize) {
    for group in groups.iter_mut().filter(|group| group.is_admitted()).skip(wanted) {
        group.verdict = Verdict::Reject { reason: "surplus".to_owned() };
    }
}

pub(crate) fn same_length(what: &str, who: &str, got: usize, group: &Group) -> Result<(), StageError> {
    let expected = group.completions.len();
    if got == expected {
        return Ok(());
    }
    Err(StageError::sample(
        &group.sample.id,
        format!("{who} gave {got} {what} for {expected} completions; give one for each"),
    ))
}
