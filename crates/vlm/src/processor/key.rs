//! What tells images apart.

use sha2::{Digest as _, Sha256};

/// An image, or a view of one, as the tower sees it: SHA-256 of its encoded bytes and of the settings that make patches of them. Equal keys
/// have equal pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey([u8; 32]);

impl ImageKey {
    /// The `n`-th view of the image.
    pub(super) fn view(self, n: usize) -> Self {
        match n {
            0 => self,
            _ => Self::of(&self.0, &format!("view {n}")),
        }
    }

    /// Of an image encoded in `bytes`, with settings as text.
    pub fn of(bytes: &[u8], settings: &str) -> Self {
        let hash = Sha256::new().chain_update(settings).chain_update("\n").chain_update(bytes);
        Self(hash.finalize().into())
    }
}
