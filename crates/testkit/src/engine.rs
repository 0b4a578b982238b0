//! Rollout engines for tests: one samples from the toy policy, one says what it is told.

use std::sync::Arc;

use reft_core::{
    Completion, FinishReason, Group, Progress, RolloutEngine, Sample, SamplingParams, StageError,
};

use crate::TablePolicy;

/// Samples from a [`TablePolicy`]. The draw of (sample, completion) depends on its place alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToyEngine;

impl RolloutEngine<TablePolicy> for ToyEngine {
    fn generate(
        &mut self,
        policy: &TablePolicy,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        groups(samples, params, progress, |sample, index| {
            let log_probs = policy.log_probs(sample);
            let u = params.seed.at(&sample.id).at(index).uniform();
            let action = draw(&log_probs, f64::from(params.temperature), u);
            Completion {
                text: TablePolicy::actions(sample).swap_remove(action),
                token_ids: vec![action as i64],
                logprobs: vec![log_probs[action] as f32],
                finish: FinishReason::Stop,
                think_opened: false,
                support: None,
            }
        })
    }
}

/// Answers every sample with the same texts, in turn. Works with any policy.
#[derive(Clone, Debug)]
pub struct ScriptedEngine {
    /// What completion `i` of a group says: `texts[i % texts.len()]`.
    pub texts: Vec<String>,
}

impl<P: ?Sized> RolloutEngine<P> for ScriptedEngine {
    fn generate(
        &mut self,
        _policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        groups(samples, params, progress, |_, index| {
            Completion::from_text(&self.texts[index % self.texts.len()])
        })
    }
}

fn groups(
    samples: &[Arc<Sample>],
    params: &SamplingParams,
    progress: Progress<'_>,
    mut answer: impl FnMut(&Sample, usize) -> Completion,
) -> Result<Vec<Group>, StageError> {
    let total = samples.len() * params.group_size;
    let mut groups = Vec::with_capacity(samples.len());
    for sample in samples {
        if !progress(groups.len() * params.group_size, total) {
            return Err(StageError::Interrupted);
        }
        groups.push(Group {
            sample: Arc::clone(sample),
            prompt_tokens: sample.problem.split_whitespace().count(),
            completions: (0..params.group_size).map(|index| answer(sample, index)).collect(),
            policy_version: None,
            temperature: None,
        });
    }
    progress(total, total);
    Ok(groups)
}

/// The action at `u` of the cumulative distribution; the most likely one at temperature 0.
fn draw(log_probs: &[f64], temperature: f64, u: f64) -> usize {
    let best = (0..log_probs.len())
        .reduce(|best, i| if log_probs[i] > log_probs[best] { i } else { best })
        .unwrap_or(0);
    if temperature == 0.0 {
        return best;
    }
    let weights: Vec<f64> = log_probs.iter().map(|l| (l / temperature).exp()).collect();
    let mut rest = u * weights.iter().sum::<f64>();
    weights
        .iter()
        .position(|weight| {
            rest -= weight;
            rest < 0.0
        })
        .unwrap_or(best)
}

#[cfg(test)]
mod tests {
    use reft_core::Seed;

    use super::*;
    use crate::sums;

    fn sample_with(order: &[Arc<Sample>], seed: u64) -> Vec<Group> {
        let params = SamplingParams {
            group_size: 4,
            temperature: 1.0,
            seed: Seed::new(seed),
            ..SamplingParams::greedy(1)
        };
        ToyEngine.generate(&TablePolicy::new(), order, &params, &mut |_, _| true).unwrap()
    }

    #[test]
    fn a_draw_depends_on_its_place_not_on_the_batch() {
        let samples = sums(5);
        let mut reversed = samples.clone();
        reversed.reverse();
        let mut groups = sample_with(&reversed, 1);
        groups.reverse();
        assert_eq!(sample_with(&samples, 1), groups);
        assert_ne!(sample_with(&samples, 2), groups);
    }

    #[test]
    fn frequencies_follow_the_policy() {
        let log_probs = [0.5_f64.ln(), 0.3_f64.ln(), 0.2_f64.ln()];
        let mut counts = [0_u32; 3];
        for i in 0..10_000_u64 {
            counts[draw(&log_probs, 1.0, Seed::new(3).at(i).uniform())] += 1;
        }
        // Five standard deviations are at most 250.
        assert!(
            counts.iter().zip([5000, 3000, 2000]).all(|(&n, expected)| n.abs_diff(expected) < 250),
            "{counts:?}"
        );
        assert_eq!(draw(&log_probs, 0.0, 0.99), 0);
    }

    #[test]
    fn progress_can_stop_it() {
        let stopped =
            ToyEngine
                .generate(&TablePolicy::new(), &sums(3), &SamplingParams::greedy(1), &mut |done, _| done < 1);
        assert!(matches!(stopped, Err(StageError::Interrupted)));
    }
}
