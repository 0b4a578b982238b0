//! From the rewards of a group to advantages.
//!
//! With `r` the G rewards of one prompt: GRPO `(r - mean) / (std + 1e-4)` with the sample standard deviation
//! (Shao et al. 2024, as published implementations compute it), Dr.GRPO `r - mean` (Liu et al. 2025), and RLOO
//! `r - mean of the others` (Ahmadian et al. 2024). A group of equal rewards gets exact zeros, whatever the rounding.

use reft_config::AdvantageConfig;
use reft_core::AdvantageEstimator;

/// The estimator that a recipe asks for.
pub fn build(config: &AdvantageConfig) -> Box<dyn AdvantageEstimator> {
    match config {
        AdvantageConfig::Grpo => Box::new(Grpo),
        AdvantageConfig::DrGrpo => Box::new(DrGrpo),
        AdvantageConfig::Rloo => Box::new(Rloo),
    }
}

/// `(r - mean) / (std + 1e-4)` with the sample standard deviation (divisor G - 1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Grpo;

impl AdvantageEstimator for Grpo {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let mean = mean(rewards);
        let squares: f64 = rewards.iter().map(|&r| (f64::from(r) - mean).powi(2)).sum();
        let std = (squares / rewards.len().saturating_sub(1).max(1) as f64).sqrt();
        unless_constant(rewards, |r| (r - mean) / (std + 1e-4))
    }
}

/// `r - mean`: no division, so a question's weight does not depend on how spread its rewards are.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrGrpo;

impl AdvantageEstimator for DrGrpo {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let mean = mean(rewards);
        unless_constant(rewards, |r| r - mean)
    }
}

/// `r - mean of the other rewards`, which equals `(r - mean) * G / (G - 1)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rloo;

impl AdvantageEstimator for Rloo {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let sum: f64 = rewards.iter().copied().map(f64::from).sum();
        let others = rewards.len().saturating_sub(1).max(1) as f64;
        unless_constant(rewards, |r| r - (sum - r) / others)
    }
}

fn mean(rewards: &[f32]) -> f64 {
    rewards.iter().copied().map(f64::from).sum::<f64>() / rewards.len().max(1) as f64
}

/// Zeros for a group of equal rewards (a group of one among them), else `advantage` of each reward.
fn unless_constant(rewards: &[f32], advantage: impl Fn(f64) -> f64) -> Vec<f32> {
    if rewards.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![0.0; rewards.len()];
    }
    rewards.iter().map(|&r| advantage(f64::from(r)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-5, "{got:?} {expected:?}");
        }
    }

    #[test]
    fn grpo_by_hand() {
        // mean 1, squares 1 + 1 + 0 + 0, sample variance 2/3, std 0.816497, plus 1e-4: 0.816597.
        let a = 1.0 / 0.816_597;
        close(&Grpo.advantages(&[2.0, 0.0, 1.0, 1.0]), &[a, -a, 0.0, 0.0]);
        // Two rewards: std = |difference| / sqrt 2, so the advantages are +-0.707 whatever the scale.
        close(&Grpo.advantages(&[1.0, 0.0]), &[0.707_007, -0.707_007]);
    }

    #[test]
    fn dr_grpo_by_hand() {
        close(&DrGrpo.advantages(&[2.0, 0.0, 1.0, 1.0]), &[1.0, -1.0, 0.0, 0.0]);
    }

    #[test]
    fn rloo_by_hand() {
        // The first: 2 - (0 + 1 + 1) / 3.
        close(&Rloo.advantages(&[2.0, 0.0, 1.0, 1.0]), &[4.0 / 3.0, -4.0 / 3.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn constant_groups_give_exact_zeros(reward in -10.0_f32..10.0, n in 0_usize..20) {
            for config in [AdvantageConfig::Grpo, AdvantageConfig::DrGrpo, AdvantageConfig::Rloo] {
                prop_assert_eq!(build(&config).advantages(&vec![reward; n]), vec![0.0; n]);
            }
        }

        #[test]
        fn advantages_sum_to_zero_and_keep_the_order(rewards in prop::collection::vec(0.0_f32..2.0, 2..16)) {
            for config in [AdvantageConfig::Grpo, AdvantageConfig::DrGrpo, AdvantageConfig::Rloo] {
                let advantages = build(&config).advantages(&rewards);
                prop_assert!(advantages.iter().sum::<f32>().abs() < 1e-3);
                for (i, j) in (0..rewards.len()).flat_map(|i| (0..rewards.len()).map(move |j| (i, j))) {
                    prop_assert!(rewards[i] <= rewards[j] || advantages[i] >= advantages[j]);
                }
            }
        }
    }
}
