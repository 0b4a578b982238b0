//! Detection of many objects with labels.

use serde_json::Value;

use super::{
    super::{PeerRow, Raises},
    clean,
    rec::{corners, iou},
};

const THRESHOLD: f64 = 0.5;
const POSITION_WEIGHT: f64 = 0.7;
const COMPLETENESS_WEIGHT: f64 = 0.3;

/// Pays `0.7 * position + 0.3 * completeness` for a fenced JSON list of `{"bbox_2d", "label"}`, 0 to 1.
///
/// Boxes are matched greedily, the best overlap first, down to 0.5. Position is the sum of the overlaps over the right
/// boxes, completeness `1 - (missed share + false share) / 2`.
///
/// What it gets wrong: a wrong label on a right box keeps the completeness (0.3), lists without a `json` fence are
/// unread, and where neither side can be read all is well (1).
pub(in super::super) fn weighted_sum(row: &PeerRow<'_>) -> Result<f64, Raises> {
    let (given, right) = (clean(row.completion), clean(row.solution));
    if right == "none" {
        return Ok(f64::from(given == "none"));
    }
    let given = fenced(&given).map(items).and_then(Result::ok).unwrap_or_default();
    let right = fenced(&right).map_or(Ok(Vec::new()), items)?;
    if right.is_empty() || given.is_empty() {
        return Ok(f64::from(right.is_empty() && given.is_empty()));
    }
    score(&given, &right)
}

/// The content of the first `json` fence, unless it is empty.
fn fenced(text: &str) -> Option<&str> {
    let inner = text.split_once("```json")?.1.split_once("```")?.0;
    Some(reft_math::python::strip(inner)).filter(|inner| !inner.is_empty())
}

/// What Python gets when it goes through a JSON value.
fn items(text: &str) -> Result<Vec<Value>, Raises> {
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => Ok(items),
        Ok(Value::Object(fields)) => Ok(fields.into_iter().map(|(key, _)| Value::String(key)).collect()),
        Ok(Value::String(text)) => Ok(text.chars().map(|c| Value::String(c.into())).collect()),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_)) => Err(Raises::Row("the solution is no list")),
        Err(_) => Err(Raises::Row("the solution is no JSON")),
    }
}

fn score(given: &[Value], right: &[Value]) -> Result<f64, Raises> {
    let overlap = |given: &Value, right: &Value| {
        let boxes = corners(given.get("bbox_2d")?).zip(corners(right.get("bbox_2d")?));
        boxes.and_then(|(given, right)| iou(&given, &right))
    };
    let overlaps: Vec<Vec<f64>> = given
        .iter()
        .map(|given| right.iter().map(|right| overlap(given, right).unwrap_or(0.0)).collect())
        .collect();
    let (mut free, mut missed): (Vec<usize>, Vec<usize>) =
        ((0..given.len()).collect(), (0..right.len()).collect());
    let mut position = 0.0;
    let mut label = None;
    while let Some((best, from, to)) = best_pair(&overlaps, &free, &missed).filter(|pair| pair.0 >= THRESHOLD)
    {
        // A box without a label is taken to have the label of the box matched before it.
        label = lower_label(&given[from]).or(label);
        let Some(label) = &label else {
            return Err(Raises::Completion("the first matched box has no label"));
        };
        if *label == lower_label(&right[to]).unwrap_or_default() {
            position += best;
        }
        free.retain(|&at| at != from);
        missed.retain(|&at| at != to);
    }
    let share = |part: &[usize], all: &[Value]| part.len() as f64 / all.len() as f64;
    let completeness = 1.0 - f64::midpoint(share(&missed, right), share(&free, given));
    let position = position / right.len() as f64;
    Ok((POSITION_WEIGHT * position + COMPLETENESS_WEIGHT * completeness)
        / (POSITION_WEIGHT + COMPLETENESS_WEIGHT))
}

/// The best overlap among boxes that are left, the first of equal ones.
fn best_pair(overlaps: &[Vec<f64>], given: &[usize], right: &[usize]) -> Option<(f64, usize, usize)> {
    let pairs = given.iter().flat_map(|&from| right.iter().map(move |&to| (overlaps[from][to], from, to)));
    pairs.reduce(|best, pair| if pair.0 > best.0 { pair } else { best })
}

fn lower_label(item: &Value) -> Option<String> {
    item.get("label")?.as_str().map(str::to_lowercase)
}
