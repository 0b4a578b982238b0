//! GRPO (Shao et al. 2024, arXiv 2402.03300, equation 3) and its kin: policy losses, KL penalties, references, the step.
//!
//! ```no_run
//! use reft_config::GrpoPhase;
//! use reft_core::{PolicyOptimizer as _, Seed, StageError};
//! use reft_grpo::{GrpoOptimizer, Reinforce};
//! use reft_vlm::Vlm;
//!
//! // The optimizer of a phase, with another policy loss than the phase's.
//! fn optimizer(phase: &GrpoPhase, policy: &Vlm) -> Result<GrpoOptimizer, StageError> {
//!     Ok(GrpoOptimizer::new(phase, policy, Seed::new(1))?.with_loss(Box::new(Reinforce)))
//! }
//! ```

mod backward;
mod batch;
mod correction;
mod diagnose;
mod in_order;
mod loss;
mod mismatch;
mod numbers;
mod objective;
mod optimizer;
mod pass;
mod ranks;
mod reference;
mod sums;

pub use correction::{Importance, importance};
pub use diagnose::{GroupDiagnosis, Known, diagnose};
pub use loss::{
    Cispo, Clip, ClipCov, Clipped, Gmpo, Gspo, KlCov, PolicyLoss, Reinforce, Rloo, Sapo, Scope, TokenLoss,
    Tokens, TopEntropy, cispo, clipped, clipped_surrogate, difficulty_weight, kl, kl_weight,
    kl_with_gradient, mean_ratio, policy_loss, product_ratio, sapo, token_weights,
};
pub use numbers::TokenNumbers;
pub use objective::{Objective, Sum, Terms};
pub use optimizer::GrpoOptimizer;
pub use pass::PassOptions;
