//! How likely the policy makes tokens now, compared with when they were sampled.
//!
//! Of a completion as a whole (GSPO, RLOO) the ratio is needed before the gradient of any token: the sum
//! `D = sum_t (log p_t - log p_old_t)` comes in as a number, and each token gets a value whose gradient is its share: with
//! `s` the ratio, `ds/dlog p_t` is `s / L` for the geometric mean and `s` for the product.

use tch::Tensor;

use super::bounded_exp;

/// `s = exp(D / L)` of each token's completion of `L` tokens, with `D` its summed log-ratio (GSPO, arXiv 2507.18071,
/// equation 7). Written for tokens as in equation 14, `s_t = sg[s] p_t / sg[p_t]`: so that the mean over the tokens has
/// value and gradient of `s`.
pub fn mean_ratio(logprob_c: &Tensor, summed_c: &Tensor, length_c: &Tensor) -> Tensor {
    bounded_exp(&(summed_c / length_c)) * one(logprob_c)
}

/// `R = exp(D)` of each token's completion, as shares: the sum over the tokens has value and gradient of `R` (RLOO,
/// arXiv 2402.14740, as TRL's `RLOOTrainer` computes it with a ratio).
pub fn product_ratio(logprob_c: &Tensor, summed_c: &Tensor, length_c: &Tensor) -> Tensor {
    bounded_exp(summed_c) * (one(logprob_c) - 1.0 + length_c.reciprocal())
}

/// 1, with the gradient of the log-prob.
pub(super) fn one(logprob_c: &Tensor) -> Tensor {
    (logprob_c - logprob_c.detach()).exp()
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    #[test]
    fn by_hand() {
        close(&bounded_exp(&tensor(&[0.5, 0.0, 100.0])), &[0.5_f64.exp(), 1.0, 20.0_f64.exp()]);
        // A completion of two tokens whose log-ratios are 0.5 and 0.1, and one of one token with -0.3.
        let (logprob, summed, length) =
            ([-1.0, -2.0, -3.0], tensor(&[0.6, 0.6, -0.3]), tensor(&[2.0, 2.0, 1.0]));
        let (s, t) = (0.3_f64.exp(), (-0.3_f64).exp());
        close(&mean_ratio(&tensor(&logprob), &summed, &length), &[s, s, t]);
        let halved = |x: &Tensor| mean_ratio(x, &summed, &length) / &length;
        close(&gradient(&logprob, halved), &[s / 2.0, s / 2.0, t]);

        let r = 0.6_f64.exp();
        close(&product_ratio(&tensor(&logprob), &summed, &length), &[r / 2.0, r / 2.0, t]);
        close(&gradient(&logprob, |x| product_ratio(x, &summed, &length)), &[r, r, t]);
    }
}
