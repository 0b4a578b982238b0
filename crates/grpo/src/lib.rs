//! GRPO (Shao et al. 2024, arXiv 2402.03300, equation 3): clipped policy loss with group advantages and a k3 KL penalty.
//!
//! ```no_run
//! use reft_grpo::{clipped_surrogate, kl_k3};
//! use tch::Tensor;
//!
//! let (logprob, old) = (Tensor::from_slice(&[-1.0_f32]), Tensor::from_slice(&[-1.1_f32]));
//! let advantage = Tensor::from_slice(&[0.5_f32]);
//! let loss = kl_k3(&logprob, &old) * 0.04 - clipped_surrogate(&logprob, &old, &advantage, 0.2, 0.2);
//! ```

mod loss;
mod optimizer;

pub use loss::{clip_fraction, clipped_surrogate, kl_k3, token_weights};
pub use optimizer::GrpoOptimizer;
