//! What tells images apart.

use sha2::{Digest as _, Sha256};

use super::ImageSettings;

/// An image as the tower sees it: SHA-256 of its encoded bytes and of the settings that make patches of them. Equal keys
/// have equal pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey([u8; 32]);

impl ImageKey {
    /// Of an image encoded in `bytes`.
    pub fn new(bytes: &[u8], settings: &ImageSettings) -> Self {
        // All settings: sizes, filter, scale, mean and deviation.
        Self::of(bytes, &format!("{settings:?}"))
    }

    /// Of an image encoded in `bytes`, with settings as text.
    pub(super) fn of(bytes: &[u8], settings: &str) -> Self {
        let hash = Sha256::new().chain_update(settings).chain_update("\n").chain_update(bytes);
        Self(hash.finalize().into())
    }
}
