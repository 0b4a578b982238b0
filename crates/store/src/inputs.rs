//! `inputs/fingerprints.json`: what a run started from, so that a resume on other data is refused.

use std::{collections::BTreeMap, path::PathBuf};

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

/// What `fingerprints.json` holds of an input.
#[derive(Serialize, Deserialize)]
struct Recorded {
    path: PathBuf,
    #[serde(flatten)]
    fingerprint: Fingerprint,
}

/// The first time: notes the inputs. Later: compares, and names every difference.
pub(crate) fn record_or_check(layout: &Layout, inputs: &[Input]) -> Result<(), StoreError> {
    let found = inputs
        .iter()
        .map(|input| {
            let recorded = Recorded { path: input.path.clone(), fingerprint: fingerprint(&input.path)? };
            Ok((input.name.clone(), recorded))
        })
        .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    let path = layout.inputs();
    if !path.exists() {
        let text = serde_json::to_vec_pretty(&found)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        return disk::replace_synced(&path, &text);
    }
    let before: BTreeMap<String, Recorded> = serde_json::from_slice(&disk::read(&path)?)
        .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
    let changes = changes(&before, &found);
    if changes.is_empty() {
        return Ok(());
    }
    Err(StoreError::InputsChanged { changes })
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
