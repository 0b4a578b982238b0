//! Rewards made of rewards, and rewards for how a completion is written: each is a small part for a [`Rubric`].
//!
//! [`Rubric`]: crate::Rubric

mod cosine;
mod format_first;
mod language;
mod overlong;
mod repetition;

pub use cosine::CosineLength;
pub use format_first::FormatFirst;
pub use language::Language;
pub use overlong::Overlong;
pub use repetition::Repetition;
