//! The weights of a Hugging Face folder: one `model.safetensors`, or shards with an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tch::{Kind, Tensor};

use super::{CheckpointError, MismatchedTensor, TensorFile, kind};
use crate::model::canonical_name;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// What tensors are called that predict several tokens at once (Qwen3.5); nobody reads them here, nor in `transformers`.
const OTHER_HEAD: &str = "mtp.";

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
    stored: BTreeMap<String, (usize, String)>,
}

impl CheckpointFolder {
    /// Opens the weights of a folder: the header of every file is read and checked, no tensor is.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        let files = match (single.exists(), index.exists()) {
            (true, _) => vec![TensorFile::open(&single)?],
            (false, true) => shards(&index)?,
            (false, false) => return Err(CheckpointError::file(dir, no_weights(dir))),
        };
        Self::of(dir, files, canonical_name)
    }

    /// Opens one file whose tensors go by other names: `ours` gives the name that is asked for.
    pub(crate) fn open_file(path: &Path, ours: impl Fn(&str) -> String) -> Result<Self, CheckpointError> {
        Self::of(path, vec![TensorFile::open(path)?], ours)
    }

    fn of(
        dir: &Path,
        files: Vec<TensorFile>,
        ours: impl Fn(&str) -> String,
    ) -> Result<Self, CheckpointError> {
        let mut stored: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (n, file) in files.iter().enumerate() {
            for tensor in file.tensors().keys() {
                let twice = stored.insert(ours(tensor), (n, tensor.clone()));
                if let Some((other, name)) = twice {
                    let message = format!(
                        "holds `{tensor}`, which `{}` holds as `{name}`; which one counts cannot be known, so \
                         download the checkpoint again or remove one",
                        files[other].path().display()
                    );
                    return Err(CheckpointError::file(file.path(), message));
                }
            }
        }
        Ok(Self { dir: dir.to_owned(), files, stored })
    }

    /// The tensors' canonical names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stored.keys().map(String::as_str)
    }

    /// How many elements are stored in each number type, by the types' names in the files.
    pub(crate) fn numel_by_dtype(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for info in self.files.iter().flat_map(|file| file.tensors().values()) {
            let count: &mut u64 = counts.entry(info.dtype.clone()).or_default();
            *count = count.saturating_add(info.numel());
        }
        counts
    }

    /// Checks that the folder holds exactly the tensors asked for, in a number type of weights.
    ///
    /// `ignored` names may be there or not: the head of a tied model, old buffers.
    pub fn check(&self, expected: &[(String, Vec<i64>)], ignored: &[&str]) -> Result<(), CheckpointError> {
        let (mut missing, mut misshaped, mut mistyped) = (Vec::new(), Vec::new(), Vec::new());
        for (name, shape) in expected {
            let Some((file, stored)) = self.stored.get(name) else {
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
        let is_unknown = |name: &&str| !known.contains(name) && !name.starts_with(OTHER_HEAD);
        let unexpected: Vec<String> = self.names().filter(is_unknown).map(str::to_owned).collect();

        if missing.is_empty() && unexpected.is_empty() && misshaped.is_empty() && mistyped.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::Mismatch { dir: self.dir.clone(), missing, unexpected, misshaped, mistyped })
    }

    /// Whether two tensors are there with equal values; none when one of them is missing or in no type of weights.
    pub fn are_equal(&self, names: [&str; 2]) -> Result<Option<bool>, CheckpointError> {
        let [Some((a, a_name)), Some((b, b_name))] = names.map(|name| self.weight(name)) else {
            return Ok(None);
        };
        if a.tensors()[a_name].shape != b.tensors()[b_name].shape {
            return Ok(Some(false));
        }
        for (a, b) in a.pieces(a_name)?.zip(b.pieces(b_name)?) {
            if !a?.to_kind(Kind::Float).equal(&b?.to_kind(Kind::Float)) {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// File and name in it of a tensor that is there in a number type of weights.
    fn weight(&self, name: &str) -> Option<(&TensorFile, &str)> {
        let (file, stored) = self.stored.get(name)?;
        let file = &self.files[*file];
        kind::is_weight(kind::from_name(&file.tensors()[stored].dtype)).then_some((file, stored))
    }

    /// Copies the stored tensors into `targets`, one at a time and converted to the number type of each.
    ///
    /// Nothing is read when [`Self::check`] finds a problem. Weights that are not finite in the target's number type are
    /// an error in the end; the targets are then filled all the same.
    pub fn read_into(&self, targets: &[(&str, &Tensor)], ignored: &[&str]) -> Result<(), CheckpointError> {
        let expected: Vec<_> =
            targets.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.size())).collect();
        self.check(&expected, ignored)?;
        let mut names = Vec::new();
        for (name, target) in targets {
            let (file, stored) = &self.stored[*name];
            let mut finite = true;
            // Looked at as they are in memory: a number that fp16 cannot hold became infinite just now.
            self.files[*file].read_into(stored, target, |part| finite &= is_finite(part))?;
            if !finite {
                names.push((*name).to_owned());
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::NonFinite { dir: self.dir.clone(), names })
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    tensor.isfinite().all().int64_value(&[]) != 0
}

/// What a folder without safetensors is told.
fn no_weights(dir: &Path) -> String {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    match pickled.into_iter().find(|name| dir.join(name).exists()) {
        Some(name) => format!(
            "has its weights in `{name}`, and only safetensors are read; load it with `transformers` and save it again \
             (`save_pretrained`)"
        ),
        None => format!("has no weights: neither `{SINGLE}` nor `{INDEX}`"),
    }
}

/// The files that an index names, each with the tensors that the index says are in it.
fn shards(path: &Path) -> Result<Vec<TensorFile>, CheckpointError> {
    let error = |message: String| CheckpointError::file(path, message);
    let text = reft_core::read_text(path).map_err(|e| error(e.to_string()))?;
    let index: Index = serde_json::from_str(&text).map_err(|e| error(format!("not an index: {e}")))?;
    let mut files: BTreeMap<&str, TensorFile> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        if files.contains_key(shard.as_str()) {
            continue;
        }
        if shard.contains(['/', '\\']) {
            return Err(error(format!("shard `{shard}` of `{tensor}` is not a file name")));
        }
        let shard_path = path.with_file_name(shard);
        if !shard_path.exists() {
            return Err(error(format!(
                "shard `{shard}` is not there, which holds `{tensor}`; download it again"
            )));
        }
        files.insert(shard, TensorFile::open(&shard_path)?);
    }
    for (tensor, shard) in &index.weight_map {
        if files[shard.as_str()].tensors().contains_key(tensor) {
            continue;
        }
        let other = files.iter().find(|(_, file)| file.tensors().contains_key(tensor));
        let holder = other.map_or_else(|| "no shard".to_owned(), |(name, _)| format!("`{name}`"));
        return Err(error(format!(
            "`{tensor}` should be in `{shard}`, but {holder} holds it; download index and shards of one checkpoint"
        )));
    }
    Ok(files.into_values().collect())
}
