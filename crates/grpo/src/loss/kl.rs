//! Estimators of the divergence from the reference, token by token (Schulman 2020, "Approximating KL divergence").

use reft_config::KlEstimator;
use tch::Tensor;

use super::MAX_LOG_RATIO;

/// With `d = log p_ref - log p`: k1 `-d`, k2 `d^2 / 2`, k3 `exp(d) - d - 1`.
///
/// The gradients with respect to `log p` are 1, `-d` and `1 - exp(d)`. In expectation over the policy, that of k1 is 0,
/// that of k2 the gradient of KL(p || p_ref), that of k3 the gradient of KL(p_ref || p).
pub fn kl(estimator: KlEstimator, logprob_c: &Tensor, reference_c: &Tensor) -> Tensor {
    let d_c = (reference_c - logprob_c).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO);
    match estimator {
        KlEstimator::K1 => -d_c,
        KlEstimator::K2 => d_c.square() / 2.0,
        KlEstimator::K3 => d_c.exp() - &d_c - 1.0,
    }
}

/// The value of one estimator with the gradient of another.
pub fn kl_with_gradient(
    value: KlEstimator,
    gradient: KlEstimator,
    logprob_c: &Tensor,
    reference_c: &Tensor,
) -> Tensor {
    let gradient_c = kl(gradient, logprob_c, reference_c);
    if value == gradient {
        return gradient_c;
    }
    let value_c = kl(value, &logprob_c.detach(), reference_c);
    value_c + (&gradient_c - gradient_c.detach())
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    #[test]
    fn by_hand() {
        let (logprob, reference) = ([-1.0, -1.0, -1.0], tensor(&[-1.0, 0.0, -2.0]));
        let e = std::f64::consts::E;
        // (estimator, values, gradients) at d = 0, 1, -1.
        let cases = [
            (KlEstimator::K1, [0.0, -1.0, 1.0], [1.0, 1.0, 1.0]),
            (KlEstimator::K2, [0.0, 0.5, 0.5], [0.0, -1.0, 1.0]),
            (KlEstimator::K3, [0.0, e - 2.0, 1.0 / e], [0.0, 1.0 - e, 1.0 - 1.0 / e]),
        ];
        for (estimator, values, gradients) in cases {
            close(&kl(estimator, &tensor(&logprob), &reference), &values);
            close(&gradient(&logprob, |x| kl(estimator, x, &reference)), &gradients);
            for (other, _, other_gradients) in cases {
                let mixed = |x: &Tensor| kl_with_gradient(estimator, other, x, &reference);
                close(&mixed(&tensor(&logprob)), &values);
                close(&gradient(&logprob, mixed), &other_gradients);
            }
        }
    }
}
