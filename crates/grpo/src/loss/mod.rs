//! Policy losses, a file each, and the terms that come beside them. `docs/LOSSES.md` has them side by side.
//!
//! Axes in tensor names: c completion token.

mod build;
mod cispo;
mod clip;
mod clip_cov;
mod clipped;
mod covariance;
mod difficulty;
mod gmpo;
mod gspo;
mod kl;
mod kl_cov;
mod kl_weight;
mod policy;
mod ratio;
mod reinforce;
mod rloo;
mod sapo;
mod scale;
mod top_entropy;

use tch::Tensor;

use self::ratio::one;
pub use self::{
    build::policy_loss,
    cispo::{Cispo, cispo},
    clip::{Clip, clipped, clipped_surrogate},
    clip_cov::ClipCov,
    clipped::Clipped,
    difficulty::difficulty_weight,
    gmpo::Gmpo,
    gspo::Gspo,
    kl::{kl, kl_with_gradient},
    kl_cov::KlCov,
    kl_weight::kl_weight,
    policy::{PolicyLoss, Scope, TokenLoss, Tokens},
    ratio::{mean_ratio, product_ratio},
    reinforce::Reinforce,
    rloo::Rloo,
    sapo::{Sapo, sapo},
    scale::token_weights,
    top_entropy::TopEntropy,
};

/// A log-ratio is clamped to this before `exp`: e^20 is finite in fp32 and far outside every clip range, so the clamp
/// changes no gradient that survives clipping.
const MAX_LOG_RATIO: f64 = 20.0;

/// `exp` of log-ratios held within `MAX_LOG_RATIO`.
pub(crate) fn bounded_exp(log_ratio_c: &Tensor) -> Tensor {
    log_ratio_c.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
}

#[cfg(test)]
pub(crate) mod tests_common {
    use reft_core::Seed;
    use tch::{Device, Kind, Tensor, no_grad};

    use super::{PolicyLoss, Tokens};

    /// Tokens of completions of some lengths, all of one group.
    pub(crate) fn tokens(logprob_c: &Tensor, old: &[f64], advantage: &[f64], lengths: &[i64]) -> Tokens {
        let lengths_m = Tensor::from_slice(lengths);
        let repeated = |x: &Tensor| x.repeat_interleave_self_tensor(&lengths_m, 0, None);
        Tokens {
            logprob_c: logprob_c.shallow_clone(),
            old_c: tensor(old),
            rollout_c: tensor(old),
            entropy_c: Some(tensor(old).abs()),
            advantage_c: tensor(advantage),
            length_c: repeated(&lengths_m.to_kind(Kind::Double)),
            completion_c: repeated(&Tensor::arange(lengths.len() as i64, (Kind::Int64, Device::Cpu))),
            group_c: Tensor::zeros([old.len() as i64], (Kind::Int64, Device::Cpu)),
            prepared_c: None,
            seed: Seed::new(1),
        }
    }

    /// The tokens with what a loss prepares for them.
    pub(crate) fn prepared(loss: &dyn PolicyLoss, mut tokens: Tokens) -> Tokens {
        tokens.prepared_c = no_grad(|| loss.prepare(&tokens));
        tokens
    }

    pub(crate) fn tensor(values: &[f64]) -> Tensor {
        Tensor::from_slice(values)
    }

    pub(crate) fn close(got: &Tensor, expected: &[f64]) {
        let got: Vec<f64> = got.to_kind(Kind::Double).try_into().unwrap();
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-6, "{got:?} {expected:?}");
        }
    }

    /// The gradient of the sum of `f(x)`.
    pub(crate) fn gradient(x: &[f64], f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let x = tensor(x).set_requires_grad(true);
        f(&x).sum(Kind::Double).backward();
        x.grad()
    }
}
