//! Estimators that see one group at a time: GRPO, Dr.GRPO, RLOO.

use reft_core::AdvantageEstimator;

use super::{mean, unless_constant};

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

#[cfg(test)]
mod tests {
    use super::{super::tests::close, *};

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
}
