//! `manifest.json` of a checkpoint: length and SHA-256 of every file, so that a torn or changed one is noticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{StoreError, disk};

/// File name inside a checkpoint.
pub(crate) const NAME: &str = "manifest.json";

/// The files of a folder by their path in it, `/` between its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: BTreeMap<String, Fingerprint>,
}

/// A file's length and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Manifest {
    /// Reads every file below `dir`, and waits until the disk has it.
    pub(crate) fn of(dir: &Path) -> Result<Self, StoreError> {
        let mut manifest = Self::default();
        let mut folders = BTreeSet::from([dir.to_owned()]);
        walk(dir, "", &mut |name, path| {
            disk::sync_file(path)?;
            manifest.files.insert(name, fingerprint(path)?);
            folders.extend(path.parent().map(Path::to_owned));
            Ok(())
        })?;
        for folder in folders {
            disk::sync_dir(&folder)?;
        }
        Ok(manifest)
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(NAME);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        disk::replace_synced(&path, &text)
    }

    /// Whether the files in `dir` are those that were written. The error is for people.
    pub(crate) fn verify(dir: &Path) -> Result<(), String> {
        let text = std::fs::read(dir.join(NAME)).map_err(|error| format!("`{NAME}`: {error}"))?;
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| format!("`{NAME}`: {error}"))?;
        for (name, expected) in &manifest.files {
            let path = dir.join(name);
            let size = std::fs::metadata(&path).map_err(|error| format!("`{name}`: {error}"))?.len();
            if size != expected.size {
                return Err(format!("`{name}` has {size} bytes instead of {}", expected.size));
            }
            let found = fingerprint(&path).map_err(|error| error.to_string())?;
            if found != *expected {
                return Err(format!("the bytes of `{name}` have changed"));
            }
        }
        Ok(())
    }
}

/// Calls `visit` with name and path of every file below `dir`, in order.
pub(crate) fn walk(
    dir: &Path,
    prefix: &str,
    visit: &mut dyn FnMut(String, &Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for path in disk::entries(dir)? {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{file_name}");
        if path.is_dir() {
            walk(&path, &format!("{name}/"), visit)?;
        } else {
            visit(name, &path)?;
        }
    }
    Ok(())
}

/// Length and hash of a file, read once in pieces.
pub(crate) fn fingerprint(path: &Path) -> Result<Fingerprint, StoreError> {
    let fail = StoreError::io("read", path);
    hash(path).map(|(size, digest)| Fingerprint { size, sha256: hex(&digest) }).map_err(fail)
}

fn hash(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, hasher.finalize().to_vec()));
        }
        size += n as u64;
        hasher.update(&buffer[..n]);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
