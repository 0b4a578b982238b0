//! Checks of data sets.

use std::{collections::BTreeSet, path::PathBuf};

use super::{At, too_large_for_toml};
use crate::{DataConfig, SceneData};

/// The file that a data set reads, and its key.
pub(super) fn path(set: &DataConfig) -> (&'static str, &PathBuf) {
    match set {
        DataConfig::File(file) => ("path", &file.path),
        DataConfig::Scenes(scenes) => ("glyphs", &scenes.glyphs),
    }
}

pub(super) fn check(set: &DataConfig, at: &mut At<'_>) {
    let (key, path) = path(set);
    at.require(!path.as_os_str().is_empty(), key, || "must not be empty".to_owned());
    match set {
        DataConfig::File(_) => {}
        DataConfig::Scenes(scenes) => check_scenes(scenes, at),
    }
}

fn check_scenes(scenes: &SceneData, at: &mut At<'_>) {
    at.at_least_one(scenes.count as u64, "count");
    at.require(i64::try_from(scenes.seed).is_ok(), "seed", too_large_for_toml);
    at.in_range(scenes.careful, 0.0..=1.0, "careful", "from 0 to 1");
    at.in_range(scenes.listing, 0.0..=1.0, "listing", "from 0 to 1");
    let transcription = scenes.transcription;
    at.in_range(transcription, 0.0..=1.0, "transcription", "from 0 to 1");
    at.in_range(scenes.jitter, 0.0.., "jitter", "0 or above");
    at.require(!scenes.tasks.is_empty(), "tasks", || "name at least one task".to_owned());
    let unique: BTreeSet<_> = scenes.tasks.iter().map(|task| task.0).collect();
    at.require(unique.len() == scenes.tasks.len(), "tasks", || "names a task twice".to_owned());
}
