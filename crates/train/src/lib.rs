//! Training passes on packed groups: chunked token losses, AdamW with saved state, schedules, supervised fine-tuning.
//!
//! What reinforcement learning and fine-tuning share lives here; the policy losses are in `reft-grpo`.
//!
//! ```no_run
//! use reft_config::SftPhase;
//! use reft_core::{Demonstration, Seed, SupervisedTrainer as _};
//! use reft_train::SftTrainer;
//! use reft_vlm::Vlm;
//!
//! fn step(policy: &mut Vlm, phase: &SftPhase, batch: &[Demonstration]) -> Result<(), reft_core::StageError> {
//!     let mut trainer = SftTrainer::new(phase, Seed::new(1));
//!     let metrics = trainer.update(policy, batch)?;
//!     assert!(metrics.get("sft/loss").is_some());
//!     Ok(())
//! }
//! ```

mod adamw;
mod demonstration;
mod examine;
mod gradient;
mod microbatch;
pub mod ranks;
mod schedule;
mod sft;
mod token_pass;

pub use adamw::{AdamW, UpdateStats, grad_norm, learns};
pub use examine::{Examination, ExamineError, everything_learns, examine};
pub use gradient::{Drift, GradientTransform, Lift, PcGrad, gradient_transform};
pub use microbatch::{in_parts, split_by_tokens, split_where};
pub use schedule::learning_rate;
pub use sft::SftTrainer;
pub use token_pass::{Entropy, TokenPass, TokenStats, token_logprobs, token_stats};
