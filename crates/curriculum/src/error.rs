//! Why a curriculum cannot start.

use std::path::PathBuf;

use reft_core::StageError;

/// Why a curriculum cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CurriculumError {
    /// There is nothing to draw from.
    #[error("the data set has no samples; check its path, `split`, `limit` and the phase's `forms`")]
    EmptyPool,
    /// A staged curriculum without stages.
    #[error("`curriculum.stages` is empty; name at least one stage")]
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
    /// A stage without a length, or with several.
    #[error("stage {stage} of the curriculum needs exactly one of `steps`, `epochs` and `plateau`")]
    NoLength {
        /// Counted from 1.
        stage: usize,
    },
    /// A stage of a mixed curriculum whose share is unknown.
    #[error(
        "stage {stage} of the curriculum needs `steps`: with `order = \"mixed\"` they are the stages' shares"
    )]
    MixedLength {
        /// Counted from 1.
        stage: usize,
    },
    /// Difficulties that do not belong to the samples.
    #[error("{difficulties} difficulties were given for {samples} samples; give one for each")]
    Difficulties {
        /// Samples there are.
        samples: usize,
        /// Difficulties there are.
        difficulties: usize,
    },
    /// A file of difficulties that cannot be used.
    #[error("`curriculum.difficulty`: `{}`: {message}", path.display())]
    DifficultyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
}

impl From<CurriculumError> for StageError {
    fn from(error: CurriculumError) -> Self {
        Self::other("curriculum", error)
    }
}
