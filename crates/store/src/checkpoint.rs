//! Checkpoints: folders that are whole or not there.
//!
//! Written as `.tmp-step_000050`, every file hashed and synced, then renamed. The newest whole one wins at a resume; a
//! damaged one is moved aside with a note.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reft_core::{Checkpointed, Cursor, StageError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    StoreError, disk,
    layout::{Layout, parse_step, step_name},
    manifest::Manifest,
};

/// `stages.json` of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Where the run stood.
    pub(crate) cursor: Cursor,
    /// How long the growing files were.
    pub(crate) lengths: Lengths,
    /// What the stages saved.
    pub(crate) stages: Value,
}

/// Lengths in bytes of the files that only grow.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lengths {
    pub(crate) metrics: u64,
    pub(crate) timings: u64,
}

/// A damaged checkpoint and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) dir: PathBuf,
    pub(crate) reason: String,
}

impl Damage {
    pub(crate) fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Saves a checkpoint; on failure nothing of it stays.
pub(crate) fn save(
    layout: &Layout,
    state: &State,
    parts: &[(&str, &dyn Checkpointed)],
) -> Result<PathBuf, StageError> {
    let name = step_name(state.cursor.global_step);
    let temporary = layout.checkpoints().join(format!(".tmp-{name}"));
    let target = layout.checkpoint(state.cursor.global_step);
    let written = write(&temporary, state, parts).and_then(|()| {
        disk::rename_dir(&temporary, &target)?;
        let latest = layout.checkpoints().join("LATEST");
        Ok(disk::replace_synced(&latest, format!("{name}\n").as_bytes())?)
    });
    if let Err(error) = written {
        // Half a checkpoint takes the space that is missing.
        let _ = disk::remove(&temporary);
        return Err(error);
    }
    Ok(target)
}

/// Saves a policy alone as `folder/name`; on failure nothing of it stays.
pub(crate) fn save_policy(folder: &Path, name: &str, policy: &dyn Checkpointed) -> Result<(), StageError> {
    let temporary = folder.join(format!(".tmp-{name}"));
    let write = || {
        disk::remove(&temporary)?;
        disk::create_dir(&temporary)?;
        policy.save(&temporary)?;
        Manifest::of(&temporary)?.write(&temporary)?;
        Ok(disk::rename_dir(&temporary, &folder.join(name))?)
    };
    write().inspect_err(|_: &StageError| {
        let _ = disk::remove(&temporary);
    })
}

fn write(dir: &Path, state: &State, parts: &[(&str, &dyn Checkpointed)]) -> Result<(), StageError> {
    disk::remove(dir)?;
    disk::create_dir(dir)?;
    for (name, part) in parts {
        let folder = dir.join(name);
        disk::create_dir(&folder)?;
        part.save(&folder)?;
    }
    let text = serde_json::to_vec_pretty(state).map_err(|error| StageError::other("stages.json", error))?;
    disk::replace(&dir.join("stages.json"), &text)?;
    Manifest::of(dir)?.write(dir)?;
    Ok(())
}

/// What a resume finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The newest whole checkpoint.
    pub(crate) newest: Option<(PathBuf, State)>,
    /// The damaged ones that are newer.
    pub(crate) damaged: Vec<Damage>,
}

/// Looks from the newest checkpoint backwards until one is whole.
pub(crate) fn find(layout: &Layout) -> Result<Found, StoreError> {
    let mut found = Found::default();
    for dir in all(layout)?.into_iter().rev() {
        match load(&dir) {
            Ok(state) => {
                found.newest = Some((dir, state));
                break;
            }
            Err(reason) => found.damaged.push(Damage { dir, reason }),
        }
    }
    Ok(found)
}

fn load(dir: &Path) -> Result<State, String> {
    Manifest::verify(dir)?;
    let text = fs::read(dir.join("stages.json")).map_err(|error| format!("`stages.json`: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("`stages.json`: {error}"))
}

/// Where a run stood at a whole checkpoint; none for any other folder.
pub(crate) fn cursor_of(dir: &Path) -> Option<Cursor> {
    parse_step(dir)?;
    Some(load(dir).ok()?.cursor)
}

/// Moves a damaged checkpoint aside, so that its place is free and it can still be looked at.
pub(crate) fn set_aside(damage: &Damage) -> Result<(), StoreError> {
    let aside = damage.dir.with_extension("damaged");
    disk::rename_dir(&damage.dir, &aside)
}

/// Keeps the newest `keep` checkpoints and removes the others. Those that were set aside stay for whoever looks into it.
pub(crate) fn retain(layout: &Layout, keep: usize) -> Result<(), StoreError> {
    let all = all(layout)?;
    let old = all.len().saturating_sub(keep.max(1));
    for dir in &all[..old] {
        // Renamed first: a kill during the removal must not leave something that looks like a checkpoint.
        let doomed = layout.checkpoints().join(".tmp-removed");
        disk::rename_dir(dir, &doomed)?;
        disk::remove(&doomed)?;
    }
    Ok(())
}

/// Removes what a killed process had not finished.
pub(crate) fn remove_unfinished(layout: &Layout) -> Result<(), StoreError> {
    for path in disk::entries(&layout.checkpoints())? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".tmp-") {
            disk::remove(&path)?;
        }
    }
    Ok(())
}

/// The checkpoints by step.
fn all(layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let mut all: Vec<(u64, PathBuf)> = disk::entries(&layout.checkpoints())?
        .into_iter()
        .filter_map(|path| Some((parse_step(&path)?, path)))
        .collect();
    all.sort();
    Ok(all.into_iter().map(|(_, path)| path).collect())
}
