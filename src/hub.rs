//! Names of the Hugging Face hub where the path of a model or of a file may stand.
//!
//! `ORG/NAME`, `ORG/NAME@REVISION` or `hf://ORG/NAME@REVISION` is a model, `hf://datasets/ORG/NAME@REVISION/FILE` a file of
//! a data set. What is not in the cache is fetched.

use std::path::{Path, PathBuf};

use reft_config::{BenchmarkConfig, DataConfig, FileData, PhaseConfig, Recipe};
#[cfg(feature = "hub")]
use reft_hub::Hub;
#[cfg(feature = "hub")]
pub use reft_hub::HubId;

use crate::Error;

/// The folder of a model.
#[cfg(feature = "hub")]
pub fn model_path(path: &Path) -> Result<PathBuf, Error> {
    match HubId::of_model(path) {
        Some(id) => Ok(Hub::from_env().fetch(&id)?),
        None => there(path, "; a model of the Hugging Face hub is `ORG/NAME` or `hf://ORG/NAME`"),
    }
}

/// A path that has to be there.
fn there(path: &Path, otherwise: &str) -> Result<PathBuf, Error> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    Err(Error::File { path: path.to_owned(), message: format!("there is no such folder{otherwise}") })
}

/// A file.
#[cfg(feature = "hub")]
pub fn file_path(path: &Path) -> Result<PathBuf, Error> {
    match HubId::parse(path) {
        Some(id) => Ok(Hub::from_env().fetch(&id)?),
        None => Ok(path.to_owned()),
    }
}

/// The folder of a model.
#[cfg(not(feature = "hub"))]
pub fn model_path(path: &Path) -> Result<PathBuf, Error> {
    there(&file_path(path)?, "")
}

/// A file.
#[cfg(not(feature = "hub"))]
pub fn file_path(path: &Path) -> Result<PathBuf, Error> {
    if path.to_str().is_some_and(|text| text.starts_with("hf://")) {
        let message = "this program is built without its feature `hub`; give a local path".to_owned();
        return Err(Error::File { path: path.to_owned(), message });
    }
    Ok(path.to_owned())
}

/// A recipe whose names of the hub say their commit, so that it means the same tomorrow; and what was pinned.
#[cfg(feature = "hub")]
pub(crate) fn pinned(recipe: &Recipe) -> Result<(Recipe, Vec<PathBuf>), Error> {
    let mut recipe = recipe.clone();
    let mut pins = Vec::new();
    for_each_path(&mut recipe, |path, is_model| {
        if let Some(id) = if is_model { HubId::of_model(path) } else { HubId::parse(path) } {
            let pin = PathBuf::from(Hub::from_env().pinned(&id)?.to_string());
            if pin != *path {
                pins.push(pin.clone());
                *path = pin;
            }
        }
        Ok(())
    })?;
    Ok((recipe, pins))
}

/// As it is: nothing names the hub.
#[cfg(not(feature = "hub"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(crate) fn pinned(recipe: &Recipe) -> Result<(Recipe, Vec<PathBuf>), Error> {
    Ok((recipe.clone(), Vec::new()))
}

/// A recipe of local paths alone, everything else fetched.
pub(crate) fn fetched(recipe: &Recipe) -> Result<Recipe, Error> {
    let mut recipe = recipe.clone();
    for_each_path(&mut recipe, |path, is_model| {
        *path = if is_model { model_path(path)? } else { file_path(path)? };
        Ok(())
    })?;
    Ok(recipe)
}

/// The rows of a file of this machine.
pub fn fetched_file(file: &FileData) -> Result<FileData, Error> {
    Ok(FileData { path: file_path(&file.path)?, ..file.clone() })
}

/// The paths of a recipe that may be names of the hub, each with whether it is a model's.
fn for_each_path(
    recipe: &mut Recipe,
    mut change: impl FnMut(&mut PathBuf, bool) -> Result<(), Error>,
) -> Result<(), Error> {
    change(&mut recipe.model.path, true)?;
    if let Some(adapter) = recipe.model.lora.as_mut().and_then(|lora| lora.adapter.as_mut()) {
        change(adapter, true)?;
    }
    for set in recipe.data.values_mut() {
        if let DataConfig::File(file) = set {
            change(&mut file.path, false)?;
        }
    }
    for phase in &mut recipe.phase {
        let benchmarks: &mut [BenchmarkConfig] = match phase {
            PhaseConfig::Eval(phase) => &mut phase.benchmarks,
            PhaseConfig::Grpo(phase) => phase.validation.as_mut().map_or(&mut [], |own| &mut own.benchmarks),
            PhaseConfig::Sft(phase) => phase.validation.as_mut().map_or(&mut [], |own| &mut own.benchmarks),
            PhaseConfig::Reject(_) => &mut [],
        };
        for benchmark in benchmarks {
            change(&mut benchmark.path, false)?;
        }
    }
    Ok(())
}
