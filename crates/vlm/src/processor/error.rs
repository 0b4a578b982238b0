//! What the processor may fail with.

use std::{fmt, path::PathBuf};

/// A prompt that cannot be made, or a folder that has no usable processor.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// A file of the checkpoint that is missing or not usable.
    #[error("`{}`: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// An image that cannot be decoded.
    #[error("image `{label}`: {message}")]
    Image {
        /// The image's label in its data set.
        label: String,
        /// What is wrong.
        message: String,
    },
    /// A size that the processor cannot bring to the model.
    #[error("image `{label}`: {source}")]
    Geometry {
        /// The image's label in its data set.
        label: String,
        /// Why not.
        #[source]
        source: reft_core::GeometryError,
    },
    /// The chat template failed on these messages.
    #[error("chat template: {0}")]
    Template(String),
    /// The template and the messages disagree on the number of images.
    #[error("the chat template placed {placed} images, the messages hold {given}")]
    ImageCount {
        /// Image tokens in the rendered prompt.
        placed: usize,
        /// Images in the messages.
        given: usize,
    },
    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// More tokens than the model can take.
    #[error(
        "the prompt has {tokens} tokens ({image_tokens} of them for images), the context holds {limit}; \
         shorten it or lower max_pixels"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// How many of them stand for images.
        image_tokens: usize,
        /// Tokens that fit.
        limit: usize,
    },
}

impl ProcessorError {
    pub(crate) fn file(path: impl Into<PathBuf>, message: impl fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }

    pub(crate) fn image(label: &str, message: impl fmt::Display) -> Self {
        Self::Image { label: label.to_owned(), message: message.to_string() }
    }
}
