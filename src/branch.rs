//! A new run that begins where a phase of another has ended: `reft train --from RUN --after PHASE`.

use std::path::{Path, PathBuf};

use reft_config::{LoraConfig, ModelConfig, PhaseConfig, Recipe, Resolved};
use reft_store::RunReader;

use crate::Error;

/// The recipe of `run` with files and settings laid over it, without the phases up to `phase`, from the model as it was at
/// that phase's end.
pub fn after(run: &Path, phase: &str, files: &[PathBuf], set: &[String]) -> Result<Recipe, Error> {
    let reader = RunReader::open(run)?;
    let refuse = |message: String| Error::File { path: run.to_owned(), message };
    let mut all = vec![run.join("config.toml")];
    all.extend_from_slice(files);
    let mut recipe = Resolved::read(&all, set)?.recipe;
    let names: Vec<&str> = recipe.phase.iter().map(PhaseConfig::name).collect();
    let Some(index) = names.iter().position(|name| *name == phase) else {
        return Err(refuse(format!("has no phase `{phase}`; its phases are {}", names.join(", "))));
    };
    if index + 1 == names.len() {
        return Err(refuse(format!("no phase comes after `{phase}`")));
    }
    // Phases that do not train leave the model as it is.
    let trained = recipe.phase[..=index].iter().rev().find(|phase| phase.optimizer().is_some());
    let model = match trained.map(PhaseConfig::name) {
        None => None,
        Some(phase) => Some(reader.model_after(phase).ok_or_else(|| {
            refuse(format!(
                "the model at the end of `{phase}` is not there; a run with `run.keep_phases = true` keeps them, others as \
                 long as `run.keep_checkpoints` has them"
            ))
        })?),
    };
    if recipe.run.name == reader.info().name {
        recipe.run.name = format!("{}-after-{phase}", recipe.run.name);
    }
    recipe.phase.drain(..=index);
    if let Some(model) = model {
        begin_with(&mut recipe.model, model);
    }
    // What a later phase needs of an earlier one may be gone.
    Ok(Resolved::from_text(&recipe.to_toml()?, "the rest of the recipe", &[])?.recipe)
}

/// Takes a trained model, or the adapter that was trained, in place of the one that the run started from.
fn begin_with(config: &mut ModelConfig, model: PathBuf) {
    config.init = None;
    if model.join("adapter_config.json").exists() {
        // Rank, alpha and layers are the adapter's own.
        let merge = config.lora.as_ref().is_some_and(|lora| lora.merge);
        config.lora = Some(LoraConfig { merge, ..LoraConfig::of_folder(model) });
    } else {
        config.path = model;
    }
}
