//! The weights of a Hugging Face folder: one `model.safetensors`, or shards with an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::{CheckpointError, MismatchedTensor, TensorFile, kind};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The open weights of a folder.
#[derive(Debug)]
pub struct CheckpointFolder {
    dir: PathBuf,
    files: Vec<TensorFile>,
    /// Canonical name to file and name in it.
    places: BTreeMap<String, (usize, String)>,
}

/// The name of a tensor in the layout of published Qwen-VL checkpoints (`model.layers...`, `visual....`).
/// Some tools write the names of `transformers`' classes instead (`model.language_model.layers...`, `model.visual....`).
pub fn canonical_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        format!("model.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        format!("visual.{rest}")
    } else {
        name.to_owned()
    }
}

impl CheckpointFolder {
    /// Opens the weights of a folder: the header of every file is read and checked, no tensor is.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let index_path = dir.join(INDEX);
        let mut files = Vec::new();
        let mut places = BTreeMap::new();
        let is_sharded = !dir.join(SINGLE).exists() && index_path.exists();
        let names = if is_sharded { shards(&index_path)? } else { BTreeSet::from([SINGLE.to_owned()]) };
        for name in names {
            let file = TensorFile::open(&dir.join(&name))?;
            for tensor in file.tensors().keys() {
                places.insert(canonical_name(tensor), (files.len(), tensor.clone()));
            }
            files.push(file);
        }
        Ok(Self { dir: dir.to_owned(), files, places })
    }

    /// The tensors' canonical names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Checks that the folder holds exactly the tensors asked for, in a number type of weights.
    ///
    /// `ignored` names may be there or not: the head of a tied model, old buffers.
    pub fn check(&self, expected: &[(String, Vec<i64>)], ignored: &[&str]) -> Result<(), CheckpointError> {
        let (mut missing, mut misshaped, mut mistyped) = (Vec::new(), Vec::new(), Vec::new());
        for (name, shape) in expected {
            let Some((file, stored)) = self.places.get(name) else {
                missing.push(name.clone());
                continue;
            };
            let info = &self.files[*file].tensors()[stored];
            if info.shape != *shape {
                misshaped.push(MismatchedTensor {
                    name: name.clone(),
                    found: format!("{:?}", info.shape),
                    expected: format!("{shape:?}"),
                });
            }
            if !kind::is_weight(kind::from_name(&info.dtype)) {
                mistyped.push(MismatchedTensor {
                    name: name.clone(),
                    found: info.dtype.clone(),
                    expected: "F32, BF16 or F16".into(),
                });
            }
        }
        let known: BTreeSet<&str> =
            expected.iter().map(|(name, _)| name.as_str()).chain(ignored.iter().copied()).collect();
        let unexpected: Vec<String> =
            self.names().filter(|name| !known.contains(name)).map(str::to_owned).collect();

        if missing.is_empty() && unexpected.is_empty() && misshaped.is_empty() && mistyped.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::Mismatch { dir: self.dir.clone(), missing, unexpected, misshaped, mistyped })
    }

    /// Whether two tensors are there with equal values; none when one of them is missing or in no type of weights.
    pub fn are_equal(&mut self, names: [&str; 2]) -> Result<Option<bool>, CheckpointError> {
        let mut tensors = Vec::new();
        for name in names {
            let Some((file, stored)) = self.places.get(name) else { return Ok(None) };
            let file = &mut self.files[*file];
            if !kind::is_weight(kind::from_name(&file.tensors()[stored].dtype)) {
                return Ok(None);
            }
            tensors.push(file.read(stored)?.to_kind(Kind::Float));
        }
        Ok(Some(tensors[0].size() == tensors[1].size() && tensors[0].equal(&tensors[1])))
    }

    /// Reads the tensors asked for, one at a time, into `take`, on the CPU and in the file's number type.
    /// Nothing is read when [`Self::check`] finds a problem.
    pub fn read_each(
        &mut self,
        expected: &[(String, Vec<i64>)],
        ignored: &[&str],
        mut take: impl FnMut(&str, Tensor),
    ) -> Result<(), CheckpointError> {
        self.check(expected, ignored)?;
        for (name, _) in expected {
            let (file, stored) = &self.places[name];
            take(name, self.files[*file].read(stored)?);
        }
        Ok(())
    }

    /// The tensors asked for, converted to one number type on one device.
    pub fn read(
        &mut self,
        expected: &[(String, Vec<i64>)],
        ignored: &[&str],
        kind: Kind,
        device: Device,
    ) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let mut tensors = BTreeMap::new();
        self.read_each(expected, ignored, |name, tensor| {
            tensors.insert(name.to_owned(), tensor.to_kind(kind).to_device(device));
        })?;
        Ok(tensors)
    }
}

/// The file names that an index mentions, which must be plain names.
fn shards(path: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    let text = std::fs::read_to_string(path).map_err(|e| CheckpointError::file(path, e))?;
    let index: Index = serde_json::from_str(&text).map_err(|e| CheckpointError::file(path, e))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| name.contains(['/', '\\'])) {
        Some(name) => Err(CheckpointError::file(path, format!("shard `{name}` is not a file name"))),
        None => Ok(names),
    }
}
