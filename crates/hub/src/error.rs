//! What goes wrong between here and the hub.

use std::{io, path::PathBuf};

use hf_hub::api::sync::ApiError;

use crate::HubId;

/// A repository that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nothing in the cache, and nobody to ask.
    #[error(
        "`{id}` is no folder here and not in the cache `{}`, and the hub is not asked: {reason}; give a folder, or fetch it \
         elsewhere with `hf download {} --local-dir DIR`",
        cache.display(), id.repo()
    )]
    Offline {
        /// What was asked for.
        id: Box<HubId>,
        /// Where it was looked for.
        cache: PathBuf,
        /// Why the hub was not asked, or did not answer.
        reason: String,
    },
    /// The hub does not show it.
    #[error(
        "`{0}`: the hub refuses (status {1}): a private repository or one with conditions needs `HF_TOKEN` (or `hf auth \
         login`), and the conditions accepted on its page"
    )]
    Refused(Box<HubId>, u16),
    /// The hub has no such thing.
    #[error(
        "`{0}`: the hub has no such repository, revision or file; a folder of this name is not here either"
    )]
    Missing(Box<HubId>),
    /// It is no checkpoint that could be opened.
    #[error("`{0}`: {1}")]
    Unusable(Box<HubId>, String),
    /// A download that failed for another reason.
    #[error("`{id}`, file `{file}`: {source}")]
    Download {
        /// The repository.
        id: Box<HubId>,
        /// Its file.
        file: String,
        /// What happened.
        source: Box<ApiError>,
    },
    /// A file that is not what the hub says.
    #[error("`{}`: the bytes are not those of the hub (SHA-256); it was removed, ask again", .0.display())]
    Damaged(PathBuf),
    /// An upload that failed.
    #[error("{what}: {message}")]
    Upload {
        /// Which request.
        what: String,
        /// What the hub said.
        message: String,
    },
    /// No token to write with.
    #[error("the hub takes uploads with a token alone: set `HF_TOKEN`, or `hf auth login`")]
    NoToken,
    /// A file of this machine.
    #[error("`{}`: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
}
