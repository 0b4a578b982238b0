//! Plain data between the stages of curr-reft, and the traits that the stages implement.
//!
//! A run is a loop over small stages: a [`Curriculum`] says which samples come next, a [`RolloutEngine`] answers
//! them G times, a [`Reward`] scores the answers, an [`AdvantageEstimator`] compares the answers of a group, and a
//! [`PolicyOptimizer`] moves the weights.
//! Rejection sampling adds a [`Judge`] and a [`SupervisedTrainer`]; evaluation adds a [`Benchmark`].
//!
//! Three decisions shape everything here:
//! - **No tensor crosses a stage border.** Stages exchange ids, text and numbers, so this crate and every crate that
//!   only scores, schedules or stores compiles in seconds and never links libtorch.
//! - **The policy is an argument**, `&P` while sampling and `&mut P` while updating. There is no lock and no copy, so
//!   rollout and trainer cannot disagree about the weights. `P` is the only type parameter, on the traits that touch weights.
//! - **Randomness is derived, not carried** ([`Seed`]): a stage asks for the random number of a *place* (phase, step,
//!   sample, completion, token). Batch order and thread count change nothing, and a resume needs no generator state.
//!
//! The rejected alternative was a trait per backend with associated tensor types. It makes every signature generic
//! and pulls the model into the crates of people who only want to write a reward.
//!
//! ```
//! use reft_core::{Completion, Reward, Sample, StageError};
//!
//! /// Pays 1 for an answer that contains the solution.
//! struct Contains;
//!
//! impl Reward for Contains {
//!     fn name(&self) -> &str {
//!         "contains"
//!     }
//!     fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
//!         Ok(f32::from(completion.text.contains(&sample.solution)))
//!     }
//! }
//! ```

mod bbox;
mod completion;
mod error;
mod files;
mod geometry;
mod images;
mod mark;
mod metrics;
mod peers;
mod reward;
mod run;
mod sample;
mod sampling;
mod seed;
mod stage;
mod support;

pub use bbox::{BoundingBox, BoxFrame, FrameError};
pub use completion::{
    Completion, FinishReason, GradedGroup, Group, JudgedGroup, Judgement, ScoredGroup, Verdict,
};
pub use error::{StageError, what_was_done};
pub use files::{open_regular, read_regular, read_text, without_bom};
pub use geometry::{GeometryError, ImageGrid, PixelBudget};
pub use images::{ImageStore, StoredImage};
pub use mark::{Mark, Reason};
pub use metrics::Metrics;
pub use peers::{Alone, Peers, parts};
pub use reward::{CutAnswers, RewardOutcome, RewardParts};
pub use run::{Checkpoint, Cursor, FailedBatch, KeptAnswer, Recorder, RunStore};
pub use sample::{
    Demonstration, Form, ImageRef, ImageSize, ImageSource, Message, Part, Role, Sample, SampleId, Task,
};
pub use sampling::SamplingParams;
pub use seed::Seed;
pub use stage::{
    AdvantageEstimator, Benchmark, Checkpointed, Curriculum, Filled, GroupFilter, Judge, PolicyOptimizer,
    Progress, Refill, Reward, RolloutEngine, Selector, Stateful, SupervisedTrainer, step_advantages,
};
pub use support::{Limit, Support};
