//! What can be wrong with an adapter.

/// An adapter that cannot be made, read or run.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A pattern that is no regular expression.
    #[error("the target pattern `{pattern}` cannot be used: {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// Patterns that mean no layer.
    #[error(
        "the adapter's targets {targets} match no linear layer; layers are called {}",
        examples.join(", ")
    )]
    NoTarget {
        /// The patterns, as JSON.
        targets: String,
        /// Some of the names.
        examples: Vec<String>,
    },
    /// `adapter_config.json` that asks for something else than plain LoRA.
    #[error("`{path}`: {}", problems.join("; "))]
    Unsupported {
        /// The file.
        path: String,
        /// Everything that is not supported.
        problems: Vec<String>,
    },
}
