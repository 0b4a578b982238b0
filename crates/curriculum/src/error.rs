//! Why a curriculum cannot start.

use reft_core::StageError;

/// Why a curriculum cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CurriculumError {
    /// There is nothing to draw from.
    #[error("the data set has no samples; check its path, `split`, `limit` and the phase's `forms`")]
    EmptyPool,
    /// A staged curriculum without stages.
    #[error("`curriculum.stages` is empty; name at least one stage with its forms and steps")]
    NoStages,
    /// A stage that asks for forms which the phase does not make.
    #[error(
        "stage {stage} of the curriculum draws from {forms}, but the phase has no such samples; add them to its `forms`"
    )]
    EmptyStage {
        /// Counted from 1.
        stage: usize,
        /// The forms it asks for.
        forms: String,
    },
}

impl From<CurriculumError> for StageError {
    fn from(error: CurriculumError) -> Self {
        Self::other("curriculum", error)
    }
}
