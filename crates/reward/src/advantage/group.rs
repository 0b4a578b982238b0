//! Estimators that see one group at a time: GRPO, Dr.GRPO, RLOO, MaxRL.

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

/// `(r - mean) / mean` (MaxRL, Tajwar et al. 2026, arXiv 2602.02710): follows the logarithm of the pass rate, which is
/// the sum over k of the gradients of pass@k / k, where GRPO follows pass@1.
///
/// A right answer among G wrong ones weighs G times as much as the mean of an easy question. Made for rewards of 0 and
/// 1; any that are not negative will do. Where the mean is not above 0, the differences are left as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaxRl;

impl AdvantageEstimator for MaxRl {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let mean = mean(rewards);
        let scale = if mean > 0.0 { mean } else { 1.0 };
        unless_constant(rewards, |r| (r - mean) / scale)
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

    #[test]
    fn max_rl_by_hand() {
        // One right of four: mean 1/4, so (1 - 1/4) / (1/4) = 3. Three right of four: mean 3/4.
        close(&MaxRl.advantages(&[1.0, 0.0, 0.0, 0.0]), &[3.0, -1.0, -1.0, -1.0]);
        close(&MaxRl.advantages(&[1.0, 1.0, 1.0, 0.0]), &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, -1.0]);
        // The mean of the squared advantages is (1 - p) / p: rare successes weigh most.
        assert_eq!(MaxRl.advantages(&[0.0; 4]), [0.0; 4]);
        close(&MaxRl.advantages(&[-1.0, 0.0]), &[-0.5, 0.5]);
    }
}
