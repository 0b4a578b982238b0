//! The terms of the policy loss, one small function each. `docs/LOSSES.md` has them side by side.
//!
//! All work on tokens, `[c]`, so that logits of a few rows are enough to take a gradient: what depends on a whole
//! completion (the ratio of GSPO) comes in as a number without gradient, and the chain rule does the rest.
//!
//! Axes in tensor names: c completion token.

mod cispo;
mod clip;
mod difficulty;
mod kl;
mod kl_weight;
mod objective;
mod policy;
mod ratio;
mod sapo;
mod scale;

use tch::Tensor;

pub use self::{
    cispo::cispo,
    clip::{Clip, clipped, clipped_surrogate},
    difficulty::difficulty_weight,
    kl::{kl, kl_with_gradient},
    kl_weight::kl_weight,
    objective::{Objective, Terms},
    policy::{PolicyLoss, Tokens},
    ratio::{RatioLevel, mean_ratio, product_ratio, token_ratio},
    sapo::sapo,
    scale::token_weights,
};

/// A log-ratio is clamped to this before `exp`: e^20 is finite in fp32 and far outside every clip range, so the clamp
/// changes no gradient that survives clipping.
const MAX_LOG_RATIO: f64 = 20.0;

/// `exp` of log-ratios held within `MAX_LOG_RATIO`.
fn bounded_exp(log_ratio_c: &Tensor) -> Tensor {
    log_ratio_c.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
}

#[cfg(test)]
mod tests_common {
    use tch::{Device, Kind, Tensor};

    pub(super) fn tensor(values: &[f64]) -> Tensor {
        Tensor::from_slice(values)
    }

    pub(super) fn zeros(n: i64) -> Tensor {
        Tensor::zeros([n], (Kind::Double, Device::Cpu))
    }

    pub(super) fn close(got: &Tensor, expected: &[f64]) {
        let got: Vec<f64> = got.to_kind(Kind::Double).try_into().unwrap();
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-6, "{got:?} {expected:?}");
        }
    }

    /// The gradient of the sum of `f(x)`.
    pub(super) fn gradient(x: &[f64], f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let x = tensor(x).set_requires_grad(true);
        f(&x).sum(Kind::Double).backward();
        x.grad()
    }
}
