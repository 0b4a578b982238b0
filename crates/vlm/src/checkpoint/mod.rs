//! Weights on disk: safetensors read and written by name, single or sharded, exact and with one complete error.
//!
//! tch reads safetensors too, but stops at the first missing name, ignores extra tensors and silently takes the file's
//! number type. Here a folder is checked as a whole before a byte of data is read ([`CheckpointError::Mismatch`] names
//! every problem), tensors are mapped one at a time and copied into parameters piece by piece, so that a large checkpoint
//! is never twice in memory, and files are written beside their final place, synced and renamed, so that a full disk leaves the old file good.

mod error;
mod file;
mod folder;
mod kind;
mod map;
mod save;

pub use error::{CheckpointError, MismatchedTensor};
pub(crate) use file::replace_file;
pub use file::{TensorFile, TensorInfo, read_tensors, write_tensors};
pub use folder::CheckpointFolder;
pub use save::{SaveOptions, save_folder};
