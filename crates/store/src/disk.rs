//! Writing so that a kill or a power cut leaves the old file or the new one, never half of one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use crate::StoreError;

/// Replaces `path` by `bytes`: written beside it and renamed. Survives a kill; [`sync_file`] makes it survive a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    create_dir(parent)?;
    let mut name = OsString::from(".tmp-");
    name.push(path.file_name().unwrap_or_default());
    let temporary = parent.join(name);
    fs::write(&temporary, bytes).map_err(|source| {
        // Half a file takes the space that is missing.
        let _ = fs::remove_file(&temporary);
        StoreError::io("write", path)(source)
    })?;
    fs::rename(&temporary, path).map_err(StoreError::io("write", path))
}

/// [`replace`], then wait until the disk has it.
pub(crate) fn replace_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes)?;
    sync_file(path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Appends a line.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), StoreError> {
    let fail = || StoreError::io("write", path);
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail())?;
    // One call, so that a kill can tear at most the last line.
    file.write_all(format!("{line}\n").as_bytes()).map_err(fail())
}

/// Cuts a file back to `len` bytes. Returns its length before, 0 when there is none.
pub(crate) fn truncate(path: &Path, len: u64) -> Result<u64, StoreError> {
    let before = file_len(path);
    if before > len {
        let file = OpenOptions::new().write(true).open(path);
        file.and_then(|file| file.set_len(len)).map_err(StoreError::io("truncate", path))?;
    }
    Ok(before)
}

/// The length of a file, 0 when there is none.
pub(crate) fn file_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Waits until the disk has a file's bytes. A missing file is fine.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(StoreError::io("sync", path)),
    }
}

/// Waits until the disk has a folder's names. Only Unix can.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        return sync_file(path);
    }
    Ok(())
}

/// Creates a folder and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io("create", path))
}

/// Removes a folder with all in it, or a file. Missing is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(StoreError::io("remove", path)),
    }
}

/// Renames a folder over an old one.
pub(crate) fn rename_dir(from: &Path, to: &Path) -> Result<(), StoreError> {
    remove(to)?;
    fs::rename(from, to).map_err(StoreError::io("write", to))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// What is in a folder, by name; nothing when there is no folder.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let dir = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir.map_err(StoreError::io("read", path))?,
    };
    let mut entries = dir
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::io("read", path))?;
    entries.sort();
    Ok(entries)
}

/// A file's bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(StoreError::io("read", path))
}
