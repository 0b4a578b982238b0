//! Several processes, ranks, that work on one run.

use crate::StageError;

/// The ranks of a run. All of them call the same methods in the same order.
pub trait Peers: Send + Sync {
    /// Which this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// What every rank has to say, by rank. Where one has failed, everyone gets an error that names it.
    fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, StageError>;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, StageError> {
        own.map(|own| vec![own]).map_err(|message| StageError::other("rank 0", message))
    }
}
