//! GRPO (Shao et al. 2024, arXiv 2402.03300, equation 3) and its kin: policy losses, KL penalties, references, the step.
//!
//! ```no_run
//! use reft_config::{ClipRange, KlEstimator};
//! use reft_grpo::{Clip, clipped_surrogate, kl, token_ratio};
//! use tch::Tensor;
//!
//! let (logprob, old) = (Tensor::from_slice(&[-1.0_f32]), Tensor::from_slice(&[-1.1_f32]));
//! let advantage = Tensor::from_slice(&[0.5_f32]);
//! let ratio = token_ratio(&logprob, &old);
//! let clip = Clip { range: ClipRange { low: 0.2, high: 0.2 }, dual: None };
//! let surrogate = clipped_surrogate(&ratio, &ratio, &advantage, clip);
//! let loss = kl(KlEstimator::K3, &logprob, &old) * 0.04 - surrogate;
//! ```

mod backward;
mod batch;
mod diagnose;
mod loss;
mod optimizer;
mod pass;
mod reference;
mod sums;

pub use diagnose::{GroupDiagnosis, TokenNumbers, diagnose};
pub use loss::{
    Clip, Objective, PolicyLoss, RatioLevel, Terms, Tokens, cispo, clipped, clipped_surrogate,
    difficulty_weight, kl, kl_weight, kl_with_gradient, mean_ratio, product_ratio, sapo, token_ratio,
    token_weights,
};
pub use optimizer::GrpoOptimizer;
