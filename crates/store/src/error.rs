//! What can go wrong with a run directory.

use std::{fmt, io, path::PathBuf};

use reft_core::StageError;

/// An error of the run directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}{}", path.display(), Advice(source))]
    Io {
        /// `read`, `write`, `create`, ...
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// Another process owns the directory.
    #[error(
        "run directory `{}` is in use by {owner}; wait for that process or stop it, then try again",
        path.display()
    )]
    InUse {
        /// Which run directory.
        path: PathBuf,
        /// Process id, host and start time, as that process wrote them.
        owner: String,
    },
    /// A new run where one already is.
    #[error(
        "`{}` already holds a run; resume it (`reft train --resume {}`), or give the new run another name (`--name`)",
        path.display(),
        path.display()
    )]
    Exists {
        /// Which folder.
        path: PathBuf,
    },
    /// A folder that is not a run directory.
    #[error("`{}` is not a run directory: {reason}", path.display())]
    NotARun {
        /// Which folder.
        path: PathBuf,
        /// What is missing or odd.
        reason: String,
    },
    /// A file of the run directory that does not say what it should.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The data or the start checkpoint are not what the run started with.
    #[error(
        "the inputs of the run have changed since it started, so a resume would be another run: {}; \
         restore them, start a new run, or go on with them all the same (`--accept-inputs`)",
        changes.join("; ")
    )]
    InputsChanged {
        /// Every difference.
        changes: Vec<String>,
    },
    /// A resume without the stages that a program had put in, or with others.
    #[error("{0}")]
    OtherStages(String),
    /// A checkpoint could not be saved.
    #[error(
        "checkpoint `{name}` was not saved: {source}; {}; remove the cause and resume the run",
        untouched(previous.as_ref())
    )]
    NotSaved {
        /// Which checkpoint.
        name: String,
        /// What failed.
        #[source]
        source: Box<StageError>,
        /// The newest good checkpoint.
        previous: Option<PathBuf>,
    },
    /// Checkpoints exist, and every one of them is damaged.
    #[error(
        "no checkpoint in `{}` is whole ({}); restore one from a copy, or delete that folder to train from the beginning",
        path.display(),
        reasons.join("; ")
    )]
    NoIntactCheckpoint {
        /// The checkpoints folder.
        path: PathBuf,
        /// What is wrong with each.
        reasons: Vec<String>,
    },
    /// A Parquet file that cannot be written or read.
    #[error("`{}`: {source}", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// The library's answer.
        #[source]
        source: parquet::errors::ParquetError,
    },
}

impl StoreError {
    /// Names action and file of an operating system error.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        Self::other("run directory", error)
    }
}

/// What to do about an operating system error, where there is more to say than its own text.
struct Advice<'a>(&'a io::Error);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::StorageFull => f.write_str("; free space on that disk"),
            io::ErrorKind::QuotaExceeded => f.write_str("; free space or raise your quota"),
            io::ErrorKind::FileTooLarge => {
                f.write_str("; raise the file size limit (`ulimit -f`) or use another disk")
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                f.write_str("; choose a folder that you may write to")
            }
            _ => Ok(()),
        }
    }
}

fn untouched(previous: Option<&PathBuf>) -> String {
    previous.map_or_else(
        || "there is no earlier one".to_owned(),
        |dir| format!("the earlier one, `{}`, is untouched", dir.display()),
    )
}
