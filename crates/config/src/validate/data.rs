//! Checks of data sets.

use std::{collections::BTreeSet, path::PathBuf};

use super::{At, too_large_for_toml};
use crate::{DataConfig, MixtureData, Recipe, SceneData, nearest::suggestion};

/// The files that a data set reads, with their keys.
pub(super) fn paths(set: &DataConfig) -> Vec<(&'static str, &PathBuf)> {
    match set {
        DataConfig::File(file) => {
            let images = file.images.as_ref().map(|folder| ("images", folder));
            [("path", &file.path)].into_iter().chain(images).collect()
        }
        DataConfig::Scenes(scenes) => vec![("glyphs", &scenes.glyphs)],
        DataConfig::Mixture(_) => Vec::new(),
    }
}

pub(super) fn check(recipe: &Recipe, set: &DataConfig, at: &mut At<'_>) {
    for (key, path) in paths(set) {
        at.require(!path.as_os_str().is_empty(), key, || "must not be empty".to_owned());
    }
    match set {
        DataConfig::File(_) => {}
        DataConfig::Scenes(scenes) => check_scenes(scenes, at),
        DataConfig::Mixture(mixture) => check_mixture(recipe, mixture, at),
    }
}

fn check_mixture(recipe: &Recipe, mixture: &MixtureData, at: &mut At<'_>) {
    let sources = &mixture.sources;
    at.require(!sources.is_empty(), "sources", || "name at least one data set".to_owned());
    let weighted = sources.iter().filter(|source| source.weight.is_some()).count();
    at.require(weighted == 0 || weighted == sources.len(), "sources", || {
        format!("{weighted} of {} have a `weight`; give one to all or to none", sources.len())
    });
    let mut seen = BTreeSet::new();
    for (i, source) in sources.iter().enumerate() {
        let name = &source.data;
        let mut at = at.at(&format!("sources[{i}]"));
        at.require(seen.insert(name), "data", || format!("`{name}` is in the mixture twice"));
        if let Some(weight) = source.weight {
            at.in_range(weight, f64::MIN_POSITIVE.., "weight", "above 0");
        }
        match recipe.data.get(name) {
            None => {
                let known = recipe.data.keys().map(String::as_str);
                at.require(false, "data", || {
                    format!("there is no data set `{name}`{}", suggestion(name, known))
                });
            }
            Some(DataConfig::Mixture(_)) => at.require(false, "data", || {
                format!("`{name}` is a mixture too; name the data sets that it is made of")
            }),
            Some(DataConfig::File(_) | DataConfig::Scenes(_)) => {}
        }
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
