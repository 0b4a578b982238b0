//! What rejection sampling over stored data may fail with.

use reft_core::StageError;

/// Kept answers or stored rows that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RejectError {
    /// A kept answer whose question is not in the data set.
    #[error(
        "a kept answer belongs to sample `{sample}`, which the data set no longer has; use the data set of the rejection phase"
    )]
    UnknownSample {
        /// The question that is missing.
        sample: String,
    },
    /// A stored row that is not as documented.
    #[error("row {row}: {message}")]
    Row {
        /// Counted from 1.
        row: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// A judge behind a server that cannot be asked.
    #[error("judge: {message}")]
    Server {
        /// What is wrong and what to do.
        message: String,
    },
    /// The judge refused a sample.
    #[error("row {row}: {source}")]
    Judge {
        /// Counted from 1.
        row: usize,
        /// Its error.
        #[source]
        source: StageError,
    },
}

impl From<RejectError> for StageError {
    fn from(error: RejectError) -> Self {
        Self::other("rejection sampling", error)
    }
}
