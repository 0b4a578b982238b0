//! Images that stay where they are until someone needs their bytes.

use std::{
    fmt,
    hash::{Hash, Hasher},
    io,
    sync::Arc,
};

/// Where a data set that does not fit into memory keeps its encoded images. Called from any thread, as often as an image
/// is encoded; crate `data` implements it on Parquet files.
pub trait ImageStore: Send + Sync {
    /// The encoded bytes of image `index` of row `row`, both counted from 0. Errors name the file and the row.
    fn read(&self, row: u64, index: u32) -> io::Result<Arc<[u8]>>;
}

/// An image in an [`ImageStore`]. Equal to another when the bytes are: compared by their SHA-256.
#[derive(Clone)]
pub struct StoredImage {
    store: Arc<dyn ImageStore>,
    row: u64,
    index: u32,
    digest: [u8; 32],
}

impl StoredImage {
    /// Image `index` of row `row`, whose bytes had the SHA-256 `digest` when the data set was opened.
    pub fn new(store: Arc<dyn ImageStore>, row: u64, index: u32, digest: [u8; 32]) -> Self {
        Self { store, row, index, digest }
    }

    /// The encoded bytes, read now.
    pub fn read(&self) -> io::Result<Arc<[u8]>> {
        self.store.read(self.row, self.index)
    }

    /// The SHA-256 of the encoded bytes.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

impl fmt::Debug for StoredImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored(row {}, image {})", self.row, self.index)
    }
}

impl PartialEq for StoredImage {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for StoredImage {}

impl Hash for StoredImage {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}
