//! What a stage may fail with.

use std::path::PathBuf;

/// A stage could not do its work. Model output never causes one: a malformed completion scores 0.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A sample that cannot be used: a wrong solution, an unreadable image, a prompt over the context limit.
    #[error("sample `{sample}`: {message}")]
    Sample {
        /// Which sample.
        sample: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("`{}`: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The stage's saved state does not fit.
    #[error("cannot restore {stage}: {message}")]
    State {
        /// Which stage.
        stage: &'static str,
        /// What does not fit.
        message: String,
    },
    /// A loss or gradient that is not a number.
    #[error("non-finite {what} at step {step}; {}", what_was_done(*.applied))]
    NonFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The optimizer step.
        step: u64,
        /// Updates on the same batch that were made before.
        applied: usize,
    },
    /// The user asked to stop (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
    /// An error of a stage's own type.
    #[error("{context}: {source}")]
    Other {
        /// Stage, phase or file that failed.
        context: String,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What became of an update that is not finite, after some on the same batch.
pub fn what_was_done(applied: usize) -> String {
    match applied {
        0 => "nothing was updated".to_owned(),
        1 => "the first update of its batch was made, this one and what would follow were not".to_owned(),
        n => format!("{n} updates of its batch were made, this one and what would follow were not"),
    }
}

impl StageError {
    /// Wraps an error of a stage's own type.
    pub fn other(
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Other { context: context.into(), source: source.into() }
    }

    /// An error about a sample.
    pub fn sample(sample: &crate::SampleId, message: impl std::fmt::Display) -> Self {
        Self::Sample { sample: sample.to_string(), message: message.to_string() }
    }

    /// An error about a file.
    pub fn file(path: impl Into<PathBuf>, message: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }
}
