//! From the rewards of a step to advantages.
//!
//! With `r` the G rewards of one prompt: GRPO `(r - mean) / (std + 1e-4)` with the sample standard deviation
//! (Shao et al. 2024, as published implementations compute it), Dr.GRPO `r - mean` (Liu et al. 2025), RLOO
//! `r - mean of the others` (Ahmadian et al. 2024), MaxRL `(r - mean) / mean` (Tajwar et al. 2026), and pass@k
//! (Chen et al. 2025). REINFORCE++ (Hu et al. 2025) and
//! GDPO (Liu et al. 2026) also look over all groups of a step. But for REINFORCE++ without baseline, a group of equal
//! rewards gets exact zeros, whatever the rounding.

mod batch;
mod gdpo;
mod group;
mod pass_at_k;

use std::sync::Arc;

use reft_config::{AdvantageConfig, RewardConfig};
use reft_core::AdvantageEstimator;

pub use batch::{Baseline, ReinforcePlusPlus};
pub use gdpo::Gdpo;
pub use group::{DrGrpo, Grpo, MaxRl, Rloo};
pub use pass_at_k::PassAtK;

/// The estimator that a recipe asks for. GDPO weighs the parts of `reward` as the recipe does.
pub fn build(config: &AdvantageConfig, reward: &RewardConfig) -> Arc<dyn AdvantageEstimator> {
    match *config {
        AdvantageConfig::Grpo => Arc::new(Grpo),
        AdvantageConfig::DrGrpo => Arc::new(DrGrpo),
        AdvantageConfig::Rloo => Arc::new(Rloo),
        AdvantageConfig::ReinforcePlusPlus => Arc::new(ReinforcePlusPlus { baseline: Baseline::Batch }),
        AdvantageConfig::ReinforcePlusPlusBaseline => {
            Arc::new(ReinforcePlusPlus { baseline: Baseline::Group })
        }
        AdvantageConfig::Gdpo => {
            let own = [("accuracy", reward.accuracy), ("format", reward.format)];
            Arc::new(Gdpo::new(own.into_iter().chain(reward.other_parts())))
        }
        AdvantageConfig::MaxRl => Arc::new(MaxRl),
        AdvantageConfig::PassAtK { k, right_from } => Arc::new(PassAtK { k, right_from }),
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

/// Divides by the standard deviation (divisor n) of all values around their mean, which is 0 by construction.
fn scale_to_unit(groups: &mut [Vec<f32>]) {
    let n = groups.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let squares: f64 = groups.iter().flatten().map(|&a| f64::from(a).powi(2)).sum();
    let std = (squares / n).sqrt() + 1e-8;
    for advantage in groups.iter_mut().flatten() {
        *advantage = (f64::from(*advantage) / std) as f32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn close(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-5, "{got:?} {expected:?}");
        }
    }

    const PER_GROUP: [AdvantageConfig; 7] = [
        AdvantageConfig::Grpo,
        AdvantageConfig::DrGrpo,
        AdvantageConfig::Rloo,
        AdvantageConfig::ReinforcePlusPlusBaseline,
        AdvantageConfig::Gdpo,
        AdvantageConfig::MaxRl,
        AdvantageConfig::PassAtK { k: 2, right_from: 1.0 },
    ];

    fn advantages(config: AdvantageConfig, rewards: &[f32]) -> Vec<f32> {
        build(&config, &RewardConfig::default()).advantages(rewards)
    }

    proptest! {
        #[test]
        fn constant_groups_give_exact_zeros(reward in -10.0_f32..10.0, n in 0_usize..20) {
            for config in PER_GROUP {
                prop_assert_eq!(advantages(config, &vec![reward; n]), vec![0.0; n]);
            }
        }

        #[test]
        fn advantages_sum_to_zero_and_keep_the_order(rewards in prop::collection::vec(0.0_f32..2.0, 2..16)) {
            for config in PER_GROUP.into_iter().chain([AdvantageConfig::ReinforcePlusPlus]) {
                let advantages = advantages(config, &rewards);
                prop_assert!(advantages.iter().sum::<f32>().abs() < 1e-3);
                for (i, j) in (0..rewards.len()).flat_map(|i| (0..rewards.len()).map(move |j| (i, j))) {
                    prop_assert!(rewards[i] <= rewards[j] || advantages[i] >= advantages[j]);
                }
            }
        }
    }
}
