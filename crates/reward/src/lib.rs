//! From completions to scores.
//!
//! The rewards are those of Curr-ReFT (arXiv 2503.07065, section 3), as the paper describes them: [`Accuracy`] by form
//! and task, [`Format`], and [`Rubric`], their weighted sum that keeps every part for the logs.
//! [`RemoteReward`] asks a program or server of the user's, and [`Deadline`] limits the time of any reward.
//! [`reft_math::equal`] decides mathematical equality natively and in bounded time, and [`advantage`] turns the rewards of
//! a group into advantages.
//!
//! Two rules hold everywhere:
//! - **Model output is data.** A malformed completion scores 0; an error means that the *sample* is broken.
//! - **An answer is paid once, whole.** Readers take the whole answer or nothing, so a completion cannot be paid for
//!   mentioning the right answer among others.
//!
//! ```
//! use reft_config::RewardConfig;
//! use reft_core::{BoxFrame, Completion, Form, Reward, Sample, Task};
//! use reft_reward::Rubric;
//!
//! let sample = Sample {
//!     id: "q1".into(),
//!     task: Task::Math,
//!     form: Form::Open,
//!     problem: "What is one half of three?".into(),
//!     messages: Vec::new(),
//!     solution: "\\frac{3}{2}".into(),
//!     box_frame: BoxFrame::Original,
//!     parent: None,
//! };
//! let rubric = Rubric::paper(&RewardConfig::default(), None);
//! let parts = rubric.score_parts(&sample, &Completion::from_text("<think>3/2</think><answer>1.5</answer>"))?;
//! assert_eq!(parts.part("accuracy"), Some(1.0));
//! assert_eq!(parts.total, 2.0);
//! # Ok::<(), reft_core::StageError>(())
//! ```

mod accuracy;
pub mod advantage;
mod answer;
mod binary;
mod boxes;
mod choice;
mod classes;
mod deadline;
mod detection;
mod error;
mod format;
mod matching;
mod mathematics;
mod named;
mod remote;
mod rubric;
pub mod shape;
mod text;

pub use accuracy::Accuracy;
pub use answer::{Reply, solution};
pub use binary::{BinaryAccuracy, yes_no};
pub use boxes::{FoundBox, parse_boxes};
pub use choice::{ChoiceAccuracy, letters};
pub use classes::{ClassIou, classes};
pub use deadline::Deadline;
pub use detection::DetectionAccuracy;
pub use error::RewardError;
pub use format::Format;
pub use mathematics::MathAccuracy;
pub use named::{RewardName, UnknownReward};
pub use remote::RemoteReward;
pub use rubric::Rubric;
pub use text::{TextAccuracy, normalize_text};

/// The documentation's example, so that it stays true.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/REWARDS.md")]
struct RewardsDocument;
