//! What the facade's functions fail with: the errors of the crates behind them.

use std::path::PathBuf;

/// An error of one of the stages, as its crate words it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe that cannot be used.
    #[error(transparent)]
    Config(#[from] reft_config::ConfigError),
    /// A data set that cannot be used.
    #[error(transparent)]
    Data(#[from] reft_data::DataError),
    /// A checkpoint that cannot be opened, run or written.
    #[error(transparent)]
    Model(#[from] reft_vlm::VlmError),
    /// A run directory that cannot be used.
    #[error(transparent)]
    Store(#[from] reft_store::StoreError),
    /// Stored completions that cannot be judged.
    #[error(transparent)]
    Reject(#[from] reft_reject::RejectError),
    /// Rows that cannot be read or written.
    #[error(transparent)]
    Table(#[from] crate::table::TableError),
    /// A run that stopped.
    #[error(transparent)]
    Run(#[from] reft_pipeline::RunError),
    /// A stage outside a run.
    #[error(transparent)]
    Stage(#[from] reft_core::StageError),
    /// A server that cannot begin, or go on.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] reft_serve::ServeError),
    /// A name of the hub that cannot be read or written.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] reft_hub::HubError),
    /// A launcher that says what cannot be.
    #[error(transparent)]
    World(#[from] reft_dist::WorldError),
    /// Ranks that do not meet.
    #[error(transparent)]
    Ranks(#[from] reft_dist::DistError),
    /// CUDA was asked for and is not there.
    #[error("device `cuda` is not available: {0}; use `device = \"cpu\"`, or see `reft doctor`")]
    NoCuda(String),
    /// Someone stopped the work; what was answered is kept.
    #[error(
        "interrupted; the answers to {kept} of {questions} questions are kept in `{}`, and the same command goes on with \
         them",
        path.display()
    )]
    Interrupted {
        /// Questions that are answered.
        kept: usize,
        /// Questions in all.
        questions: usize,
        /// Where the answers are.
        path: PathBuf,
    },
    /// A file of the caller.
    #[error("`{}`: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}
