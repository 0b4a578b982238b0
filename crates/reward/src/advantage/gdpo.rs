//! GDPO (group reward-decoupled normalisation, Liu et al. 2026, arXiv 2601.05242): normalise each reward, then sum.

use reft_core::{AdvantageEstimator, RewardParts};

use super::{Grpo, scale_to_unit};

/// `A = sum of w_k * (r_k - mean_k) / (std_k + 1e-4)` over the parts `k`, then divided by the standard deviation over
/// the step.
///
/// Where parts have different spreads, summing first lets the wider one drown the other, and different combinations
/// with the same sum cannot be told apart. Normalising each part in its group first keeps them apart.
#[derive(Clone, Debug)]
pub struct Gdpo {
    weights: Vec<(String, f32)>,
}

impl Gdpo {
    /// With the weights of parts by name. A part that is not named has weight 1.
    pub fn new<'a>(weights: impl IntoIterator<Item = (&'a str, f32)>) -> Self {
        Self { weights: weights.into_iter().map(|(name, weight)| (name.to_owned(), weight)).collect() }
    }

    fn weight(&self, part: &str) -> f32 {
        self.weights.iter().find(|(name, _)| name == part).map_or(1.0, |&(_, weight)| weight)
    }

    fn group(&self, rewards: &[RewardParts]) -> Vec<f32> {
        let names = rewards.first().map(|first| first.parts.as_slice()).unwrap_or_default();
        let mut sums = vec![0.0; rewards.len()];
        for (name, _) in names {
            let values: Vec<f32> =
                rewards.iter().map(|reward| reward.part(name).unwrap_or_default()).collect();
            for (sum, advantage) in sums.iter_mut().zip(Grpo.advantages(&values)) {
                *sum += self.weight(name) * advantage;
            }
        }
        sums
    }
}

impl AdvantageEstimator for Gdpo {
    /// One reward is its own only part.
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let parts = |&total: &f32| RewardParts::single("reward", total);
        self.step_advantages(&[rewards.iter().map(parts).collect()]).concat()
    }

    fn step_advantages(&self, groups: &[Vec<RewardParts>]) -> Vec<Vec<f32>> {
        let mut advantages: Vec<Vec<f32>> = groups.iter().map(|rewards| self.group(rewards)).collect();
        scale_to_unit(&mut advantages);
        advantages
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::close, *};

    fn group(rewards: &[(f32, f32)]) -> Vec<RewardParts> {
        let reward = |&(accuracy, format): &(f32, f32)| RewardParts {
            total: accuracy + format,
            parts: vec![("accuracy".into(), accuracy), ("format".into(), format)],
            ..RewardParts::default()
        };
        rewards.iter().map(reward).collect()
    }

    #[test]
    fn parts_are_normalised_by_hand() {
        // Each part is 1 once and 0 once: +-0.707007 in its group. Right and well formed against neither: the sums are
        // +-1.414013, whose standard deviation over the step is themselves.
        let gdpo = Gdpo::new([("accuracy", 1.0), ("format", 1.0)]);
        close(&gdpo.step_advantages(&[group(&[(1.0, 1.0), (0.0, 0.0)])]).concat(), &[1.0, -1.0]);
        // Right without format and wrong with format have the same total and cancel, as they should with equal weights;
        // with half the weight on format, the sums are +-0.353503 and scale to +-1.
        let mixed = [group(&[(1.0, 0.0), (0.0, 1.0)])];
        close(&gdpo.step_advantages(&mixed).concat(), &[0.0, 0.0]);
        let halved = Gdpo::new([("accuracy", 1.0), ("format", 0.5)]);
        close(&halved.step_advantages(&mixed).concat(), &[1.0, -1.0]);
        // Over two groups: sums +-1.414013 and +-0.707007, squares 2 * 1.999433 + 2 * 0.499859 over 4: std 1.117876.
        let two = [group(&[(1.0, 1.0), (0.0, 0.0)]), group(&[(1.0, 1.0), (0.0, 1.0)])];
        close(&gdpo.step_advantages(&two).concat(), &[1.264_911, -1.264_911, 0.632_456, -0.632_456]);
    }
}
