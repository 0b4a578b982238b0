//! One process owns a run directory: an exclusive lock on `run.lock`, which the kernel drops with the process.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    process, thread,
    time::Duration,
};

use fs4::{FileExt, TryLockError};

use crate::{StoreError, clock, layout::Layout};

/// Holds the lock as long as it lives.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.lock();
        // Not truncated: until the lock is ours, the text in it is another's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        // By its full name: newer standard libraries have a method of the same name.
        match try_for_a_moment(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                let owner = owner.trim();
                return Err(StoreError::InUse {
                    path: layout.root.clone(),
                    owner: if owner.is_empty() { "another process".into() } else { owner.into() },
                });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path)(source)),
        }
        let owner = format!("process {} on host `{}` since {}\n", process::id(), host(), clock::now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(owner.as_bytes()))
            .map_err(StoreError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// Tries for half a second: a lock outlives its owner while a child that the owner was starting has not become its own
/// program yet.
fn try_for_a_moment(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match FileExt::try_lock(file) {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
    FileExt::try_lock(file)
}

/// The machine's name, for people.
pub(crate) fn host() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    files
        .iter()
        .find_map(|file| fs::read_to_string(Path::new(file)).ok())
        .map(|name| name.trim().to_owned())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".into())
}
