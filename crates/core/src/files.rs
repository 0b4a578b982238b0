//! Reading files of other people.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// Opens a regular file. A pipe or a device is refused: it may keep its reader waiting for ever.
pub fn open_regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"))
    }
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
}
