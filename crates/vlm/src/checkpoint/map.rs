//! The bytes of one tensor, mapped from its file and handed out in pieces.
//!
//! A map lives as long as one tensor is read. So of a checkpoint of any size, memory holds the parameters, one piece,
//! and pages of one tensor that the system may take back at any time.

use std::{fs::File, io};

use memmap2::{Mmap, MmapOptions};
use tch::{Kind, Tensor};

/// Elements that are copied and converted at a time.
pub(super) const PIECE: usize = 1 << 22;

/// An open file and the size that its header was checked against.
#[derive(Debug)]
pub(super) struct SizedFile {
    file: File,
    size: u64,
}

/// The elements of a tensor, flat, in pieces of [`PIECE`].
pub(super) struct Pieces<'a> {
    file: &'a SizedFile,
    map: Mmap,
    kind: Kind,
    /// Bytes that were handed out.
    done: usize,
}

impl SizedFile {
    pub(super) fn new(file: File, size: u64) -> Self {
        Self { file, size }
    }

    /// The elements that take `len` bytes from byte `start` on.
    pub(super) fn pieces(&self, start: u64, len: u64, kind: Kind) -> io::Result<Pieces<'_>> {
        self.check()?;
        Ok(Pieces { file: self, map: map(&self.file, start, len as usize)?, kind, done: 0 })
    }

    /// Bytes of a map beyond the end of its file are zeros up to the end of the page; after that, touching them ends
    /// the process. So the size is looked at before and after every piece.
    fn check(&self) -> io::Result<()> {
        let now = self.file.metadata()?.len();
        if now == self.size {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the file changed from {} to {now} bytes while it was read; wait until it is written and start again",
            self.size
        )))
    }
}

#[expect(unsafe_code, reason = "no safe function can vouch that nobody writes to a file while it is mapped")]
fn map(file: &File, start: u64, len: usize) -> io::Result<Mmap> {
    // SAFETY: the map is private to this module, read-only, and only ever copied from, as bytes of which every pattern
    // is valid. Its range lies in the file, which was looked at just before and is again around every copy: a file that
    // is being written is an error. Left to chance is a file cut in the instant of one copy: the system then ends the
    // process (SIGBUS), as it does with every reader that maps.
    unsafe { MmapOptions::new().offset(start).len(len).map(file) }
}

impl Iterator for Pieces<'_> {
    type Item = io::Result<Tensor>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = self.kind.elt_size_in_bytes();
        let end = self.map.len().min(self.done + PIECE * size);
        if self.done == end {
            return None;
        }
        let bytes = &self.map[self.done..end];
        self.done = end;
        Some(self.file.check().and_then(|()| {
            let piece = copy(bytes, self.kind)?;
            self.file.check()?;
            Ok(piece)
        }))
    }
}

fn copy(bytes: &[u8], kind: Kind) -> io::Result<Tensor> {
    let numel = (bytes.len() / kind.elt_size_in_bytes()) as i64;
    Tensor::f_from_data_size(bytes, &[numel], kind).map_err(|e| io::Error::other(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_between_two_pieces_is_noticed() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let len = PIECE as u64 + 5000;
        path.as_file().set_len(len + 3).unwrap();
        let file = SizedFile::new(File::open(path.path()).unwrap(), len + 3);
        let sizes: Vec<usize> =
            file.pieces(3, len, Kind::Uint8).unwrap().map(|piece| piece.unwrap().numel()).collect();
        assert_eq!(sizes, [PIECE, 5000]);

        let mut pieces = file.pieces(3, len, Kind::Uint8).unwrap();
        assert_eq!(pieces.next().unwrap().unwrap().numel(), PIECE);
        path.as_file().set_len(PIECE as u64).unwrap();
        let error = pieces.next().unwrap().unwrap_err().to_string();
        assert!(error.contains(&format!("from {} to {PIECE} bytes", len + 3)), "{error}");
        assert!(file.pieces(3, len, Kind::Uint8).is_err());
    }
}
