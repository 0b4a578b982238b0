//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use reft_core::StageError;

use crate::{checkpoint::CheckpointError, lora::LoraError, model::ConfigError, processor::ProcessorError};

/// A checkpoint that cannot be opened, run or written.
#[derive(Debug, thiserror::Error)]
pub enum VlmError {
    /// `config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Tokenizer, template, images.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// An adapter.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// Config and processor disagree.
    #[error("`{}`: {message}", path.display())]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// What disagrees.
        message: String,
    },
}

impl From<VlmError> for StageError {
    fn from(error: VlmError) -> Self {
        Self::other("model", error)
    }
}
