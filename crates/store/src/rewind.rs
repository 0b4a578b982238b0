//! Back to a checkpoint: everything that was recorded after it is dropped, and recorded again by the resumed run.

use std::path::Path;

use reft_core::Cursor;

use crate::{
    StoreError,
    checkpoint::Lengths,
    disk,
    layout::{Layout, parse_step, step_name},
};

/// Makes the directory what it was at `cursor`.
///
/// Returns the growing files that are shorter than they were, which only someone else can have done.
pub(crate) fn rewind(
    layout: &Layout,
    phases: &[String],
    cursor: Cursor,
    lengths: Lengths,
) -> Result<Vec<&'static str>, StoreError> {
    let mut shorter = Vec::new();
    if disk::truncate(&layout.metrics(), lengths.metrics)? < lengths.metrics {
        shorter.push("metrics.jsonl");
    }
    if disk::truncate(&layout.timings(), lengths.timings)? < lengths.timings {
        shorter.push("timings.jsonl");
    }
    for (index, phase) in phases.iter().enumerate().skip(cursor.phase) {
        let steps_to_keep = if index == cursor.phase { cursor.step } else { 0 };
        drop_later(&layout.completions(phase), steps_to_keep)?;
        drop_later(&layout.non_finite(phase), steps_to_keep)?;
        drop_later(&layout.validation(phase), steps_to_keep)?;
        drop_later(&layout.best(phase), steps_to_keep)?;
        disk::remove(&layout.rejection(phase))?;
        disk::remove(&layout.eval(phase))?;
    }
    drop_chunks(layout, cursor.global_step)?;
    Ok(shorter)
}

/// Removes what a folder has of steps after `keep`.
fn drop_later(folder: &Path, keep: u64) -> Result<(), StoreError> {
    for path in disk::entries(folder)? {
        if parse_step(&path).is_none_or(|step| step > keep) {
            disk::remove(&path)?;
        }
    }
    Ok(())
}

/// Removes the kept chunks of every policy but one.
pub(crate) fn drop_chunks(layout: &Layout, policy_version: u64) -> Result<(), StoreError> {
    let keep = step_name(policy_version);
    for path in disk::entries(&layout.partial())? {
        if path.file_name().is_none_or(|name| name != keep.as_str()) {
            disk::remove(&path)?;
        }
    }
    Ok(())
}
