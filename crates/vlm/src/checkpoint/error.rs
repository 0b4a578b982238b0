//! What can be wrong with a checkpoint.

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
};

use serde::Serialize;

/// How many names of one kind an error message lists; the error itself holds all.
const LISTED: usize = 20;

/// A checkpoint that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that is missing, truncated, not what its name says, or cannot be written.
    #[error("`{}`: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The files are sound but do not hold the tensors that the model asks for.
    #[error("{}", mismatch(.dir, .missing, .unexpected, .misshaped, .mistyped))]
    Mismatch {
        /// The folder or file.
        dir: PathBuf,
        /// Asked for, not there.
        missing: Vec<String>,
        /// There, not asked for.
        unexpected: Vec<String>,
        /// There with another shape.
        misshaped: Vec<MismatchedTensor>,
        /// There in a number type that weights cannot have.
        mistyped: Vec<MismatchedTensor>,
    },
    /// Weights that are not numbers, or that the number type of memory cannot hold.
    #[error("{}", non_finite(.dir, .names))]
    NonFinite {
        /// The folder.
        dir: PathBuf,
        /// The tensors.
        names: Vec<String>,
    },
}

impl CheckpointError {
    pub(crate) fn file(path: impl Into<PathBuf>, message: impl fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }
}

/// A tensor that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MismatchedTensor {
    /// Its name.
    pub name: String,
    /// What the file holds: a shape or a number type.
    pub found: String,
    /// What the model asks for.
    pub expected: String,
}

fn mismatch(
    dir: &std::path::Path,
    missing: &[String],
    unexpected: &[String],
    misshaped: &[MismatchedTensor],
    mistyped: &[MismatchedTensor],
) -> String {
    let mut text = format!(
        "`{}` does not fit the model ({} missing, {} unexpected, {} of another shape, {} of another type)",
        dir.display(),
        missing.len(),
        unexpected.len(),
        misshaped.len(),
        mistyped.len(),
    );
    let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect();
    let compared = |tensors: &[MismatchedTensor]| {
        tensors.iter().map(|t| format!("`{}` is {}, not {}", t.name, t.found, t.expected)).collect()
    };
    list(&mut text, "missing", quoted(missing));
    list(&mut text, "unexpected", quoted(unexpected));
    list(&mut text, "shape", compared(misshaped));
    list(&mut text, "type", compared(mistyped));
    text
}

fn non_finite(dir: &std::path::Path, names: &[String]) -> String {
    let mut text = format!(
        "`{}` has weights that are NaN or infinite, or too large for the number type asked for; take another copy, \
         or bf16 or fp32 instead of fp16",
        dir.display()
    );
    list(&mut text, "tensors", names.iter().map(|name| format!("`{name}`")).collect());
    text
}

fn list(text: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "; {title}: {}", lines[..lines.len().min(LISTED)].join(", "));
    if lines.len() > LISTED {
        let _ = write!(text, " and {} more", lines.len() - LISTED);
    }
}
