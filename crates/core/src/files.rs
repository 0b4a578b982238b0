//! Reading files of other people.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    path::Path,
};

/// How a pointer of Git LFS begins, of at most [`POINTER_BYTES`] bytes: what a clone without LFS has in place of a large
/// file. Format: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const POINTER_BYTES: u64 = 1024;

/// Opens a regular file. A pipe or a device is refused: it may keep its reader waiting for ever. So is a pointer of Git LFS:
/// it is text, whatever its name says.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"));
    }
    let mut file = File::open(path)?;
    if metadata.len() < POINTER_BYTES {
        let mut begin = Vec::new();
        (&file).take(POINTER.len() as u64).read_to_end(&mut begin)?;
        if begin == POINTER {
            let message = "is a pointer of Git LFS in place of the file; run `git lfs pull` in the clone, or download it";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        file.rewind()?;
    }
    Ok(file)
}

/// The bytes of a regular file.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a regular file, without a byte order mark.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_regular(path)?;
    let text = std::str::from_utf8(without_bom(&bytes));
    text.map(str::to_owned).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// UTF-8 without the byte order mark that some programs write before it.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_regular(Path::new("/dev/zero")).is_err());
        assert!(read_regular(dir.path()).is_err());
        let path = dir.path().join("a");
        fs::write(&path, "\u{feff}x").unwrap();
        assert_eq!(read_text(&path).unwrap(), "x");
        fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path).is_err());
    }

    #[test]
    fn pointers_of_lfs_are_not_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
            .unwrap();
        let error = read_regular(&path).unwrap_err();
        assert!(error.to_string().contains("git lfs pull"), "{error}");
        // A file that is about them is none, and neither is one that begins as they do and is longer than they may be.
        for text in ["version 1", &"version https://git-lfs.github.com/spec/v1\n".repeat(40)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_text(&path).unwrap(), text);
        }
    }
}
