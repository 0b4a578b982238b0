//! Writing so that a kill or a power cut leaves the old file or the new one, never half of one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::StoreError;

/// Where a file is written before it takes its place. Its folder is made.
pub(crate) fn beside(path: &Path) -> Result<PathBuf, StoreError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    create_dir(parent)?;
    let mut name = OsString::from(".tmp-");
    name.push(path.file_name().unwrap_or_default());
    Ok(parent.join(name))
}

/// Replaces `path` by `bytes`: written beside it and renamed. Survives a kill; [`sync_file`] makes it survive a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = beside(path)?;
    fs::write(&temporary, bytes).map_err(|source| {
        // Half a file takes the space that is missing.
        let _ = fs::remove_file(&temporary);
        StoreError::io("write", path)(source)
    })?;
    fs::rename(&temporary, path).map_err(StoreError::io("write", path))
}

/// Writes a file for others to read: whole or not at all, whatever happens meanwhile.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    replace_synced(&parent.unwrap_or(Path::new(".")).join(path.file_name().unwrap_or_default()), bytes)
}

/// [`replace`], then wait until the disk has it.
pub(crate) fn replace_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes)?;
    sync_file(path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Appends a line, behind the end of a torn one.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), StoreError> {
    let fail = || StoreError::io("write", path);
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(fail())?;
    let start = if is_torn(&mut file).map_err(fail())? { "\n" } else { "" };
    // One call, so that a kill can tear at most the last line.
    file.write_all(format!("{start}{line}\n").as_bytes()).map_err(fail())
}

/// Whether a file ends within a line.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
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

/// The length of a file, or of all files in a folder and its folders.
pub(crate) fn tree_len(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| tree_len(&entry.path())).sum(),
        Err(_) => file_len(path),
    }
}

/// Waits until the disk has a file's bytes. A missing file is fine.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(StoreError::io("sync", path)),
    }
}

/// Waits until the disk has every file of a folder and of its folders.
pub(crate) fn sync_tree(path: &Path) -> Result<(), StoreError> {
    for entry in entries(path)? {
        if entry.is_dir() { sync_tree(&entry)? } else { sync_file(&entry)? }
    }
    sync_dir(path)
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
