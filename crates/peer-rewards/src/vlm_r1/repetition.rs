//! Repetition, as a penalty.

use std::{collections::HashSet, hash::Hash};

use serde_json::Value;

use super::{
    super::{
        PeerRow, Raises,
        python::{is_space, strip, words},
    },
    repair::read_repaired,
};

/// Words that make a phrase.
const PHRASE: usize = 6;

/// Pays minus the share of repeated phrases of six words, or of repeated boxes where the text holds a JSON list of
/// them: -1 to 0. After the repetition penalty of Yeo et al. 2025 (arXiv 2502.03373).
///
/// What it gets wrong: a list of boxes anywhere hides any repetition of the text around it.
pub(in super::super) fn repetition(row: &PeerRow<'_>) -> Result<f64, Raises> {
    let text = row.completion;
    if let Some(Value::Array(items)) = json_part(text).and_then(read_repaired)
        && !items.is_empty()
    {
        let boxes = items.iter().map(described).collect::<Result<Vec<_>, _>>()?;
        return Ok(-repeated_share(boxes.iter().flatten()));
    }
    let words: Vec<String> = words(&text.to_lowercase()).map(str::to_owned).collect();
    Ok(-repeated_share(words.windows(PHRASE)))
}

/// `1 - unique / all`; 0 of nothing.
fn repeated_share<T: Hash + Eq>(items: impl Iterator<Item = T>) -> f64 {
    let mut all = 0_usize;
    let unique: HashSet<T> = items.inspect(|_| all += 1).collect();
    if all == 0 { 0.0 } else { 1.0 - unique.len() as f64 / all as f64 }
}

/// The first `json` fence; else the first fence; else, or where that is empty, what looks like a list of boxes.
fn json_part(text: &str) -> Option<&str> {
    let fence = |open: &str| Some(strip(text.split_once(open)?.1.split_once("```")?.0));
    let found = fence("```json")
        .or_else(|| fence("```").filter(|inner| !inner.is_empty()).or_else(|| list_of_boxes(text)));
    found.filter(|inner| !inner.is_empty())
}

/// From a `[{` over `"bbox_2d"` and `"label"` to the next `}]`.
fn list_of_boxes(text: &str) -> Option<&str> {
    let (start, _) = text
        .match_indices('[')
        .find(|(at, _)| text[at + 1..].trim_start_matches(is_space).starts_with('{'))?;
    let rest = &text[start..];
    let label = rest.find("\"bbox_2d\"").and_then(|at| Some(at + rest[at..].find("\"label\"")?))?;
    let end = rest[label..].match_indices('}').find_map(|(at, _)| {
        let after = rest[label + at + 1..].trim_start_matches(is_space);
        after.starts_with(']').then(|| rest.len() - after.len() + 1)
    })?;
    Some(&rest[..end])
}

/// A box and its label as text; none for an item that lacks one of them.
fn described(item: &Value) -> Result<Option<String>, Raises> {
    let keys = ["bbox_2d", "label"];
    match item {
        Value::Object(fields) => Ok(fields
            .get("bbox_2d")
            .zip(fields.get("label"))
            .map(|(bbox, label)| format!("{}_{}", shown(bbox), shown(label)))),
        Value::Array(items) if keys.iter().all(|&key| items.contains(&Value::from(key))) => {
            Err(Raises::Completion("a list of names is no box"))
        }
        Value::String(text) if keys.iter().all(|key| text.contains(key)) => {
            Err(Raises::Completion("a text is no box"))
        }
        Value::Array(_) | Value::String(_) => Ok(None),
        Value::Null | Value::Bool(_) | Value::Number(_) => Err(Raises::Completion("a number is no box")),
    }
}

/// A text as it is; anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
