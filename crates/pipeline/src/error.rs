//! How a run fails.

use std::path::PathBuf;

use reft_core::StageError;

/// A run that could not go on. What was saved stays; the same run can be resumed after the cause is removed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A stage failed.
    #[error("phase `{phase}`, step {step}: {source}")]
    Stage {
        /// The phase's name.
        phase: String,
        /// The step that failed, counted from 1; 0 before the first.
        step: u64,
        /// What failed.
        #[source]
        source: StageError,
    },
    /// A loss or gradient is not a number. Nothing of that step was saved.
    #[error(
        "phase `{phase}`, step {step}: the {what} is not finite, so training on would destroy the weights; {}; \
         lower the learning rate or the clip range, or look at the completions of the last steps",
        last_good(checkpoint.as_ref())
    )]
    NonFinite {
        /// The phase's name.
        phase: String,
        /// The step that failed, counted from 1.
        step: u64,
        /// `loss` or `gradient`.
        what: &'static str,
        /// The last good checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// Two phases have the same name.
    #[error("two phases are named `{0}`; names are keys on disk, so give each phase its own")]
    DuplicatePhase(String),
    /// The checkpoint is from a run with other phases.
    #[error(
        "the checkpoint stands at phase {phase}, but this run has {phases} phases; resume with the recipe it was made by"
    )]
    PhaseOutOfRange {
        /// The checkpoint's phase index.
        phase: usize,
        /// The number of phases.
        phases: usize,
    },
    /// The store failed outside a phase.
    #[error(transparent)]
    Store(StageError),
}

fn last_good(checkpoint: Option<&PathBuf>) -> String {
    checkpoint.map_or_else(
        || "there is no checkpoint yet".to_owned(),
        |dir| format!("the last good checkpoint is `{}`", dir.display()),
    )
}
