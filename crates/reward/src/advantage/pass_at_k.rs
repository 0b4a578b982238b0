//! Pass@k (Chen et al. 2025, arXiv 2508.10751): pay for a right answer among any k, in closed form.

use reft_core::AdvantageEstimator;

/// The expected advantage of a completion over all subsets of k of its group, where a subset earns 1 when it holds a
/// right answer.
///
/// With `q = C(wrong, k) / C(G, k)` the share of subsets without a right answer, the mean is `1 - q` and the standard
/// deviation `sqrt(q (1 - q))`. A right answer gets `q / std`; a wrong one
/// `(q - C(wrong - 1, k - 1) / C(G - 1, k - 1)) / std`, for a subset with it fails only where its other members do.
/// Compared with k = 1, rare right answers are praised more and easy prompts teach nothing: it rewards exploring.
#[derive(Clone, Copy, Debug)]
pub struct PassAtK {
    /// Size of the subsets.
    pub k: usize,
    /// The reward from which on an answer is right.
    pub right_from: f32,
}

impl AdvantageEstimator for PassAtK {
    fn advantages(&self, rewards: &[f32]) -> Vec<f32> {
        let is_right = |&reward: &f32| reward >= self.right_from;
        let (n, k) = (rewards.len(), self.k.clamp(1, rewards.len().max(1)));
        let wrong = rewards.iter().filter(|reward| !is_right(reward)).count();
        if wrong == 0 || wrong == n {
            return vec![0.0; n];
        }
        let failed = share(wrong, n, k);
        let std = (failed * (1.0 - failed)).sqrt();
        if std == 0.0 {
            return vec![0.0; n];
        }
        let right = failed / std;
        let other = (failed - share(wrong.saturating_sub(1), n - 1, k - 1)) / std;
        rewards.iter().map(|reward| if is_right(reward) { right as f32 } else { other as f32 }).collect()
    }
}

/// `C(part, k) / C(all, k)`: the share of subsets of k that lie in a part.
fn share(part: usize, all: usize, k: usize) -> f64 {
    (0..k).map(|taken| part.saturating_sub(taken) as f64 / (all - taken) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::close, *};

    #[test]
    fn subsets_by_hand() {
        let pass = |k| PassAtK { k, right_from: 1.0 };
        // One right of four, k = 2: of 6 pairs 3 hold it, q = 1/2, std 1/2. A wrong one's partner is wrong in 2 of 3.
        close(&pass(2).advantages(&[1.0, 0.0, 0.0, 0.0]), &[1.0, -1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0]);
        // k = 1 is GRPO with divisor n: q = 3/4, std 0.433013.
        close(&pass(1).advantages(&[1.0, 0.0, 0.0, 0.0]), &[1.732_051, -0.577_350, -0.577_350, -0.577_350]);
        // Three right of four: every pair holds one, so nothing is learned.
        assert_eq!(pass(2).advantages(&[1.0, 1.0, 1.0, 0.0]), [0.0; 4]);
        // k above the group size means the whole group.
        assert_eq!(pass(9).advantages(&[1.0, 0.0]), [0.0; 2]);
    }
}
