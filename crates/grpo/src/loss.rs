//! The terms of the policy loss, one small function each.
//!
//! Axes in tensor names: c completion token.

use reft_config::LossScale;
use tch::{Kind, Tensor};

/// A log-ratio is clamped to this before `exp`: e^20 is finite in fp32 and far outside every clip range, so the clamp
/// changes no gradient that survives clipping.
const MAX_LOG_RATIO: f64 = 20.0;

/// `min(r A, clip(r, 1 - low, 1 + high) A)` with `r = exp(logprob - old)` (PPO, Schulman et al. 2017, equation 7).
/// To be maximised.
pub fn clipped_surrogate(
    logprob_c: &Tensor,
    old_c: &Tensor,
    advantage_c: &Tensor,
    low: f64,
    high: f64,
) -> Tensor {
    let ratio_c = (logprob_c - old_c).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp();
    let clipped_c = ratio_c.clamp(1.0 - low, 1.0 + high);
    (&ratio_c * advantage_c).minimum(&(clipped_c * advantage_c))
}

/// Share of tokens whose ratio is outside the clip range on the side where clipping stops the gradient.
pub fn clip_fraction(
    logprob_c: &Tensor,
    old_c: &Tensor,
    advantage_c: &Tensor,
    low: f64,
    high: f64,
) -> Tensor {
    let ratio_c = (logprob_c - old_c).exp();
    let above = ratio_c.gt(1.0 + high).logical_and(&advantage_c.gt(0.0));
    let below = ratio_c.lt(1.0 - low).logical_and(&advantage_c.lt(0.0));
    above.logical_or(&below).to_kind(Kind::Float)
}

/// `exp(d) - d - 1` with `d = log p_ref - log p`: unbiased, never negative (Schulman 2020, "k3").
pub fn kl_k3(logprob_c: &Tensor, reference_c: &Tensor) -> Tensor {
    let d_c = (reference_c - logprob_c).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO);
    d_c.exp() - &d_c - 1.0
}

/// `[c]` weight of each token in the loss, for completions of the given lengths, one after another.
pub fn token_weights(lengths: &[usize], scale: LossScale, max_new_tokens: usize) -> Vec<f32> {
    let total: usize = lengths.iter().sum();
    lengths
        .iter()
        .flat_map(|&length| {
            let denominator = match scale {
                LossScale::Sequence => lengths.len() * length,
                LossScale::Token => total,
                LossScale::Constant => lengths.len() * max_new_tokens,
            };
            std::iter::repeat_n(1.0 / denominator as f32, length)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &Tensor, expected: &[f64]) {
        let got: Vec<f64> = got.to_kind(Kind::Double).try_into().unwrap();
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-6, "{got:?} {expected:?}");
        }
    }

    #[test]
    fn surrogate_by_hand() {
        // Ratios 1.5, 1.5, 0.5, 0.5, 1 with advantages +, -, +, -, +, clip 0.2.
        let ratio = Tensor::from_slice(&[1.5_f64, 1.5, 0.5, 0.5, 1.0]);
        let advantage = Tensor::from_slice(&[2.0_f64, -2.0, 2.0, -2.0, 3.0]);
        let old = Tensor::zeros([5], (Kind::Double, tch::Device::Cpu));
        close(&clipped_surrogate(&ratio.log(), &old, &advantage, 0.2, 0.2), &[2.4, -3.0, 1.0, -1.6, 3.0]);
        close(&clip_fraction(&ratio.log(), &old, &advantage, 0.2, 0.2), &[1.0, 0.0, 0.0, 1.0, 0.0]);
        close(&clipped_surrogate(&ratio.log(), &old, &advantage, 0.2, 0.6), &[3.0, -3.0, 1.0, -1.6, 3.0]);
    }

    #[test]
    fn gradient_at_ratio_one_is_the_policy_gradient() {
        let logprob = Tensor::from_slice(&[-1.0_f64, -2.0]).set_requires_grad(true);
        let advantage = Tensor::from_slice(&[0.5_f64, -1.5]);
        clipped_surrogate(&logprob, &logprob.detach(), &advantage, 0.2, 0.2).sum(Kind::Double).backward();
        close(&logprob.grad(), &[0.5, -1.5]);
    }

    #[test]
    fn k3_by_hand() {
        let logprob = Tensor::from_slice(&[-1.0_f64, -1.0, -1.0]).set_requires_grad(true);
        let reference = Tensor::from_slice(&[-1.0_f64, 0.0, -2.0]);
        let kl = kl_k3(&logprob, &reference);
        // e^0 - 0 - 1, e^1 - 1 - 1, e^-1 + 1 - 1.
        close(&kl, &[0.0, std::f64::consts::E - 2.0, (-1.0_f64).exp()]);
        kl.sum(Kind::Double).backward();
        // d kl / d logprob = 1 - e^d.
        close(&logprob.grad(), &[0.0, 1.0 - std::f64::consts::E, 1.0 - (-1.0_f64).exp()]);
    }

    #[test]
    fn weights_by_hand() {
        assert_eq!(token_weights(&[1, 2], LossScale::Sequence, 10), [0.5, 0.25, 0.25]);
        assert_eq!(token_weights(&[1, 2], LossScale::Token, 10), [1.0 / 3.0; 3]);
        assert_eq!(token_weights(&[1, 2], LossScale::Constant, 10), [0.05; 3]);
    }
}
