//! REINFORCE++ (Hu et al. 2025, arXiv 2501.03262): normalised over all completions of a step.

use reft_core::{AdvantageEstimator, RewardParts};

use super::{mean, scale_to_unit, unless_constant};

/// What a reward is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The mean of the step: `(r - mean) / (std + 1e-8)` over all completions of all prompts.
    ///
    /// An easy prompt's answers are all praised, so prompts should be of like difficulty.
    Batch,
    /// The mean of the group, then divided by the standard deviation of what is left over the step.
    ///
    /// Groups with little spread weigh little, which GRPO's division by the group's own spread hides.
    Group,
}

/// REINFORCE++, without a critic. Standard deviations have divisor n; every completion counts once.
#[derive(Clone, Copy, Debug)]
pub struct ReinforcePlusPlus {
    /// What a reward is compared with.
    pub baseline: Baseline,
}

impl ReinforcePlusPlus {
    fn over_step(self, groups: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let all: Vec<f32> = groups.concat();
        let step = mean(&all);
        let mut advantages: Vec<Vec<f32>> = match self.baseline {
            Baseline::Batch if all.windows(2).all(|pair| pair[0] == pair[1]) => {
                groups.iter().map(|rewards| vec![0.0; rewards.len()]).collect()
            }
            Baseline::Batch => groups
                .iter()
                .map(|rewards| rewards.iter().map(|&r| (f64::from(r) - step) as f32).collect())
                .collect(),
            Baseline::Group => groups
                .iter()
                .map(|rewards| {
                    let mean = mean(rewards);
                    unless_constant(rewards, |r| r - mean)
                })
                .collect(),
        };
        scale_to_unit(&mut advantages);
        advantages
    }
}

impl AdvantageEstimator for ReinforcePlusPlus {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        self.over_step(&[rewards.to_vec()]).concat()
    }

    fn step_advantages(&self, groups: &[Vec<RewardParts>]) -> Vec<Vec<f32>> {
        let totals = |rewards: &Vec<RewardParts>| rewards.iter().map(|reward| reward.total).collect();
        self.over_step(&groups.iter().map(totals).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::close, *};

    fn step(baseline: Baseline, groups: &[&[f32]]) -> Vec<Vec<f32>> {
        let parts = |&total: &f32| RewardParts { total, ..RewardParts::default() };
        let groups: Vec<Vec<RewardParts>> =
            groups.iter().map(|rewards| rewards.iter().map(parts).collect()).collect();
        ReinforcePlusPlus { baseline }.step_advantages(&groups)
    }

    #[test]
    fn over_the_step_by_hand() {
        // Mean 1, squares 1 + 1 + 1 + 1 over 4: std 1.
        let got = step(Baseline::Batch, &[&[2.0, 0.0], &[2.0, 0.0]]);
        close(&got.concat(), &[1.0, -1.0, 1.0, -1.0]);
        // Mean 1.25, squares 0.5625 + 1.5625 + 0.5625 + 0.0625 over 4: std 0.829156. The second group is praised more.
        let got = step(Baseline::Batch, &[&[2.0, 0.0], &[2.0, 1.0]]);
        close(&got.concat(), &[0.904_534, -1.507_557, 0.904_534, -0.301_511]);
    }

    #[test]
    fn with_group_baseline_by_hand() {
        // Differences 1, -1, 0.5, -0.5; squares 2.5 over 4: std 0.790569.
        let got = step(Baseline::Group, &[&[2.0, 0.0], &[2.0, 1.0]]);
        close(&got.concat(), &[1.264_911, -1.264_911, 0.632_456, -0.632_456]);
        // A group of equal rewards keeps its zeros.
        let got = step(Baseline::Group, &[&[1.0, 1.0], &[2.0, 1.0]]);
        assert_eq!(got[0], [0.0, 0.0]);
    }
}
