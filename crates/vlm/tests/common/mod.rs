//! Golden checkpoints, as they are and changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reft_vlm::checkpoint::{SaveOptions, read_tensors, save_folder, write_tensors};
use tch::{Kind, Tensor};

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

/// All tensors of a folder's files, by the names in them.
pub(crate) fn stored(dir: &Path) -> Vec<(String, Tensor)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut tensors: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .flat_map(|path| read_tensors(&path).unwrap())
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// A copy of a folder with its weights in one file, changed.
pub(crate) fn altered(name: &str, change: impl FnOnce(&mut Vec<(String, Tensor)>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = stored(&golden(name));
    change(&mut tensors);
    save_folder(dir.path(), &[], &SaveOptions::new(Kind::Float), &golden(name)).unwrap();
    write_tensors(&dir.path().join("model.safetensors"), &tensors).unwrap();
    dir
}
