//! What keeps a reward from being built.

use crate::UnknownReward;

/// A recipe's reward that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewardError {
    /// A name that no reward has.
    #[error(transparent)]
    Unknown(#[from] UnknownReward),
    /// A program or server that cannot be asked.
    #[error("reward `{name}`: {message}")]
    Remote {
        /// The name of its part.
        name: String,
        /// What is wrong and what to do.
        message: String,
    },
}
