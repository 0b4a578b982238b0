//! What the loops measure. `docs/METRICS.md` defines every name.

use std::collections::BTreeMap;

use reft_core::{
    Completion, FinishReason, GradedGroup, Group, JudgedGroup, Metrics, RewardOutcome, ScoredGroup, Task,
    Verdict,
};

/// Completion tokens of all groups.
pub(crate) fn tokens(groups: &[Group]) -> usize {
    groups.iter().flat_map(|group| &group.completions).map(|completion| completion.token_ids.len()).sum()
}

/// Of one reinforcement learning step.
pub(crate) fn rl(groups: &[ScoredGroup]) -> Metrics {
    let mut metrics = completions(groups.iter().map(|scored| &scored.group));
    let totals: Vec<Vec<f32>> = groups.iter().map(ScoredGroup::counted_totals).collect();
    metrics.set("reward/mean", mean(totals.iter().flatten().copied().map(f64::from)));
    metrics.set("reward/std", mean(totals.iter().map(|group| sample_std(group))));
    metrics.set("reward/zero_std", share(&totals, |group| is_constant(group)));
    parts(&mut metrics, groups);
    for reward in
        groups.iter().flat_map(|scored| &scored.rewards).filter(|r| r.outcome != RewardOutcome::Score)
    {
        metrics.add(format!("reward/{}", reward.outcome.as_str()), 1.0);
    }

    let accuracies: Vec<(Task, Vec<f32>)> =
        groups.iter().map(|scored| (scored.group.sample.task, scored.accuracies())).collect();
    let all_right = share(&accuracies, |(_, group)| group.iter().all(|&a| a >= 1.0));
    let all_wrong = share(&accuracies, |(_, group)| group.iter().all(|&a| a <= 0.0));
    metrics.set("groups/all_right", all_right);
    metrics.set("groups/all_wrong", all_wrong);
    metrics.set("groups/mixed", 1.0 - all_right - all_wrong);
    for task in Task::ALL {
        let of_task = accuracies.iter().filter(|(t, _)| *t == task);
        let mut values = of_task.flat_map(|(_, group)| group).copied().map(f64::from).peekable();
        if values.peek().is_some() {
            metrics.set(format!("accuracy/{task}"), mean(values));
        }
    }

    metrics.set("completion/effective_tokens", effective_tokens(groups));
    metrics.set("filter/admitted", share(groups, ScoredGroup::is_admitted));
    for scored in groups {
        if let Verdict::Reject { reason } = &scored.verdict {
            metrics.add(format!("filter/{reason}"), 1.0);
        }
    }
    metrics
}

/// Tokens that an update moves: those of admitted answers whose advantage is not 0.
fn effective_tokens(groups: &[ScoredGroup]) -> f64 {
    let admitted = groups.iter().filter(|scored| scored.is_admitted());
    let answers = admitted.flat_map(|scored| scored.group.completions.iter().zip(&scored.advantages));
    let moved = answers.filter(|(_, advantage)| **advantage != 0.0);
    // Counted, then made a float: an empty sum of floats is -0.0.
    moved.map(|(answer, _)| answer.token_ids.len()).sum::<usize>() as f64
}

/// Of one chunk of rejection sampling.
pub(crate) fn rejection(judged: &[(JudgedGroup, Vec<Verdict>)]) -> Metrics {
    let mut metrics = completions(judged.iter().map(|(judged, _)| &judged.group));
    let scores =
        judged.iter().flat_map(|(judged, _)| &judged.judgements).map(|judgement| f64::from(judgement.score));
    metrics.set("reject/score_mean", mean(scores));
    let best = judged.iter().map(|(judged, _)| {
        let scores = judged.judgements.iter().map(|j| f64::from(j.score));
        scores.fold(0.0, f64::max)
    });
    metrics.set("reject/best_mean", mean(best));
    metrics.set("reject/questions_kept", share(judged, |(_, verdicts)| verdicts.contains(&Verdict::Admit)));
    metrics.set("reject/kept", 0.0);
    for verdict in judged.iter().flat_map(|(_, verdicts)| verdicts) {
        match verdict {
            Verdict::Admit => metrics.add("reject/kept", 1.0),
            Verdict::Reject { reason } => metrics.add(format!("reject/{reason}"), 1.0),
        }
    }
    metrics
}

/// Of one benchmark.
pub(crate) fn evaluation(benchmark: &str, graded: &[GradedGroup]) -> Metrics {
    let mut metrics = completions(graded.iter().map(|graded| &graded.group));
    let scores = graded.iter().flat_map(GradedGroup::scores);
    metrics.set(format!("eval/{benchmark}/accuracy"), mean(scores));
    metrics.set(format!("eval/{benchmark}/questions"), graded.len() as f64);
    metrics
}

/// Of the answers themselves.
fn completions<'a>(groups: impl Iterator<Item = &'a Group>) -> Metrics {
    let all: Vec<&Completion> = groups.flat_map(|group| &group.completions).collect();
    let mut metrics = Metrics::new();
    let lengths = || all.iter().map(|completion| completion.token_ids.len() as f64);
    metrics.set("completion/length_mean", mean(lengths()));
    metrics.set("completion/length_max", lengths().fold(0.0, f64::max));
    metrics.set("completion/truncated", share(&all, |completion| completion.finish == FinishReason::Length));
    let mut logprobs =
        all.iter().flat_map(|completion| &completion.logprobs).map(|&logprob| -f64::from(logprob)).peekable();
    if logprobs.peek().is_some() {
        metrics.set("rollout/neg_logprob", mean(logprobs));
    }
    metrics
}

/// `reward/<part>`: the mean of every unweighted part over the completions that have it.
fn parts(metrics: &mut Metrics, groups: &[ScoredGroup]) {
    let mut sums: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
    for (name, value) in groups.iter().flat_map(|scored| &scored.rewards).flat_map(|reward| &reward.parts) {
        let (sum, n) = sums.entry(name).or_default();
        *sum += f64::from(*value);
        *n += 1;
    }
    for (name, (sum, n)) in sums {
        metrics.set(format!("reward/{name}"), sum / f64::from(n));
    }
}

pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0_u64), |(sum, n), value| (sum + value, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

fn share<T>(items: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    let n = items.iter().filter(|item| holds(item)).count();
    n as f64 / items.len().max(1) as f64
}

fn is_constant(values: &[f32]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// Sample standard deviation, `n - 1` in the denominator; 0 for fewer than two values.
fn sample_std(values: &[f32]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values.iter().copied().map(f64::from));
    let squares: f64 = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reft_core::RewardParts;
    use reft_testkit::sums;

    use super::*;

    fn scored(accuracies: &[f32], verdict: Verdict) -> ScoredGroup {
        ScoredGroup {
            group: Group {
                sample: Arc::clone(&sums(1)[0]),
                prompt_tokens: 3,
                completions: accuracies
                    .iter()
                    .map(|_| Completion {
                        token_ids: vec![1, 2],
                        logprobs: vec![-1.0, -2.0],
                        finish: FinishReason::Length,
                        ..Completion::from_text("")
                    })
                    .collect(),
                policy_version: None,
                temperature: None,
            },
            rewards: accuracies
                .iter()
                .map(|&accuracy| RewardParts {
                    total: accuracy + 1.0,
                    parts: vec![("accuracy".into(), accuracy), ("format".into(), 1.0)],
                    ..RewardParts::default()
                })
                .collect(),
            advantages: vec![0.0; accuracies.len()],
            verdict,
        }
    }

    #[test]
    fn answers_without_a_score_are_counted() {
        let mut group = scored(&[0.0, 0.0, 1.0], Verdict::Admit);
        group.rewards[0].outcome = RewardOutcome::Timeout { reason: "slow".into() };
        let metrics = rl(&[group.clone(), group]);
        assert_eq!((metrics.get("reward/timeout"), metrics.get("reward/failed")), (Some(2.0), None));
    }

    #[test]
    fn rl_metrics_by_hand() {
        let reject = Verdict::Reject { reason: "zero_variance".into() };
        let mut groups = [
            scored(&[1.0, 1.0], reject.clone()),
            scored(&[0.0, 0.0], reject),
            scored(&[1.0, 0.0], Verdict::Admit),
            scored(&[1.0, 0.5], Verdict::Admit),
        ];
        // Rejected answers and those without an advantage move nothing: three answers of two tokens are left.
        groups[0].advantages = vec![1.0, -1.0];
        groups[2].advantages = vec![1.0, -1.0];
        groups[3].advantages = vec![0.5, 0.0];
        let metrics = rl(&groups);
        let expected = [
            ("reward/mean", 12.5 / 8.0),
            // Standard deviations 0, 0, 1/sqrt(2), 0.5/sqrt(2).
            ("reward/std", 1.5 / 2.0_f64.sqrt() / 4.0),
            ("reward/zero_std", 0.5),
            ("reward/accuracy", 4.5 / 8.0),
            ("reward/format", 1.0),
            ("groups/all_right", 0.25),
            ("groups/all_wrong", 0.25),
            ("groups/mixed", 0.5),
            ("accuracy/math", 4.5 / 8.0),
            ("filter/admitted", 0.5),
            ("filter/zero_variance", 2.0),
            ("completion/effective_tokens", 6.0),
            ("completion/length_mean", 2.0),
            ("completion/length_max", 2.0),
            ("completion/truncated", 1.0),
            ("rollout/neg_logprob", 1.5),
        ];
        for (name, value) in expected {
            let got = metrics.get(name).unwrap();
            assert!((got - value).abs() < 1e-12, "{name}: {got} != {value}");
        }
        assert_eq!(metrics.iter().count(), expected.len());
    }
}
