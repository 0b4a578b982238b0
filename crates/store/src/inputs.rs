//! `inputs/`: what a run started from, so that a resume on other data is refused.
//!
//! `fingerprints.json` has the hash of every file; `images-NAME.sha256` those of the images that a data set names, in the
//! format of `sha256sum`, which checks them too. Images are many, so they are read again only where the file system says that
//! one has changed (`images.json`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    StoreError, disk,
    layout::Layout,
    manifest::{self, Fingerprint},
};

/// A file or folder that a run reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is: `model`, `data.train`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The image files that a data set names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFiles {
    /// The data set.
    pub data: String,
    /// Its files.
    pub paths: BTreeSet<PathBuf>,
}

/// What `fingerprints.json` holds of an input.
#[derive(Serialize, Deserialize)]
struct Recorded {
    path: PathBuf,
    #[serde(flatten)]
    fingerprint: Fingerprint,
}

/// The first time: notes the inputs. Later: compares, and returns every difference.
pub(crate) fn record_or_compare(layout: &Layout, inputs: &[Input]) -> Result<Vec<String>, StoreError> {
    let found = inputs
        .iter()
        .map(|input| {
            let recorded = Recorded { path: input.path.clone(), fingerprint: fingerprint(&input.path)? };
            Ok((input.name.clone(), recorded))
        })
        .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    let path = layout.inputs().join("fingerprints.json");
    if !path.exists() {
        write_json(&path, &found)?;
        return Ok(Vec::new());
    }
    Ok(changes(&read_json(&path)?, &found))
}

/// Takes the inputs as they are now. Returns every difference.
pub(crate) fn accept(layout: &Layout, inputs: &[Input]) -> Result<Vec<String>, StoreError> {
    let changes = record_or_compare(layout, inputs)?;
    disk::remove(&layout.inputs().join("fingerprints.json"))?;
    record_or_compare(layout, inputs)?;
    Ok(changes)
}

/// Takes the image files of data sets as they are now. Returns every difference.
pub(crate) fn accept_images(layout: &Layout, sets: &[ImageFiles]) -> Result<Vec<String>, StoreError> {
    let changes = record_or_compare_images(layout, sets)?;
    disk::remove(&layout.inputs().join("images.json"))?;
    for set in sets {
        disk::remove(&layout.inputs().join(format!("images-{}.sha256", set.data)))?;
    }
    record_or_compare_images(layout, sets)?;
    Ok(changes)
}

/// [`record_or_compare`] of the image files of data sets.
pub(crate) fn record_or_compare_images(
    layout: &Layout,
    sets: &[ImageFiles],
) -> Result<Vec<String>, StoreError> {
    let quick_path = layout.inputs().join("images.json");
    let mut quick: BTreeMap<String, String> =
        if quick_path.exists() { read_json(&quick_path)? } else { BTreeMap::new() };
    let mut changes = Vec::new();
    for set in sets.iter().filter(|set| !set.paths.is_empty()) {
        let now = quick_mark(&set.paths);
        if quick.get(&set.data) == Some(&now) {
            continue;
        }
        let sums_path = layout.inputs().join(format!("images-{}.sha256", set.data));
        let sums = checksums(&set.paths)?;
        if sums_path.exists() {
            let before = String::from_utf8_lossy(&disk::read(&sums_path)?).into_owned();
            let known: BTreeSet<&str> = before.lines().collect();
            let other: Vec<&str> = sums.lines().filter(|line| !known.contains(line)).collect();
            if let Some(first) = other.first() {
                let name = first.split_once("  ").map_or(*first, |(_, name)| name);
                changes.push(format!(
                    "{} images of `{}` have other bytes, the first `{name}`",
                    other.len(),
                    set.data
                ));
                continue;
            }
        } else {
            disk::replace_synced(&sums_path, sums.as_bytes())?;
        }
        quick.insert(set.data.clone(), now);
    }
    write_json(&quick_path, &quick)?;
    Ok(changes)
}

/// A hash of names, lengths and times of change: what the file system knows without reading.
fn quick_mark(paths: &BTreeSet<PathBuf>) -> String {
    let mut hasher = Sha256::new();
    for path in paths {
        let meta = std::fs::metadata(path);
        let time = meta.as_ref().ok().and_then(|meta| meta.modified().ok());
        let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let length = meta.map_or(0, |meta| meta.len());
        hasher.update(format!("{}\0{length}\0{time:?}\n", path.display()));
    }
    manifest::hex(&hasher.finalize())
}

fn checksums(paths: &BTreeSet<PathBuf>) -> Result<String, StoreError> {
    let mut lines = String::new();
    for path in paths {
        let sum = manifest::fingerprint(path)?.sha256;
        lines.extend([&sum, "  ", &path.to_string_lossy(), "\n"]);
    }
    Ok(lines)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T, StoreError> {
    serde_json::from_slice(&disk::read(path)?)
        .map_err(|error| StoreError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

fn write_json(path: &std::path::Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| StoreError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    disk::replace_synced(path, &text)
}

fn changes(before: &BTreeMap<String, Recorded>, found: &BTreeMap<String, Recorded>) -> Vec<String> {
    let gone = before
        .keys()
        .filter(|name| !found.contains_key(*name))
        .map(|name| format!("`{name}` is no longer used"));
    let other = found.iter().filter_map(|(name, now)| {
        let path = now.path.display();
        match before.get(name) {
            None => Some(format!("`{name}` (`{path}`) is new")),
            Some(then) if then.fingerprint != now.fingerprint => {
                Some(format!("`{name}` (`{path}`) has other bytes"))
            }
            Some(_) => None,
        }
    });
    gone.chain(other).collect()
}

/// Of a file: its hash. Of a folder: the hash over the names and hashes of its files.
fn fingerprint(path: &std::path::Path) -> Result<Fingerprint, StoreError> {
    if !path.is_dir() {
        return manifest::fingerprint(path);
    }
    let (mut hasher, mut size) = (Sha256::new(), 0);
    manifest::walk(path, "", &mut |name, file| {
        let of_file = manifest::fingerprint(file)?;
        size += of_file.size;
        hasher.update(format!("{name}\0{}\n", of_file.sha256));
        Ok(())
    })?;
    Ok(Fingerprint { size, sha256: manifest::hex(&hasher.finalize()) })
}
