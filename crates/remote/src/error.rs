//! Why there is no answer.

use std::time::Duration;

/// A question that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// It crashed, or answered something else than a JSON object, as often as it was asked.
    #[error("{0}")]
    Failed(String),
    /// It answered that this question is wrong, which asking again does not change.
    #[error("{0}")]
    Refused(String),
    /// It answered with status 404: it has no such route, or not the model that was asked for.
    #[error("{0}")]
    Missing(String),
    /// It cannot be asked at all: the program does not start, or the address is none.
    #[error("{0}")]
    Unusable(String),
}
