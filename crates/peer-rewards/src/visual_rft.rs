//! Visual-RFT: detection with confidences, and fine-grained classification.
//!
//! Source: Liuziyu77/Visual-RFT, `src/virft/src/open_r1/grpo.py` and `grpo_classification.py` at `9486633`.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{
    PeerRow, Symbolic,
    python::strip,
    r1v::line_answer,
    tags::{Span, first_answer},
};

/// Boxes that overlap by no more than this are no match.
const THRESHOLD: f64 = 0.5;

/// What a matched list of boxes is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paid {
    /// The overlap, averaged over the larger of the two lists.
    Iou,
    /// The confidence of hits and its complement of misses, averaged over the answered boxes.
    Confidence,
}

/// Pays by overlap or confidence of `[{'Position': [x1, y1, x2, y2], 'Confidence': c}, ..]`, 0 to 1.
///
/// Boxes are matched greedily, the most confident first; each right box is used once, above an overlap of 0.5.
///
/// What it gets wrong: the symbolic step comes first and pays 1 for any list whose first coordinates agree, or whose
/// last numbers do; a right box that is missing costs nothing in the confidence part, where saying that a wrong box is
/// wrong (confidence 0) pays fully; line breaks in the answer hide it; a single object without list is unread.
pub(super) fn detection(row: &PeerRow<'_>, paid: Paid, symbolic: Symbolic) -> f64 {
    if symbolic.same(row.completion, row.solution).unwrap_or(false) {
        return 1.0;
    }
    let solution = strip(row.solution);
    let answer = strip(first_answer(row.completion, Span::Line).unwrap_or(row.completion));
    let answer = format!("<answer>{answer}</answer>").replace("[[", "[").replace("]]", "]").replace('\n', "");
    let score = match boxes(&answer) {
        None => 0.0,
        // Anything unexpected raises in the original, which then pays 0 and forgets about absent objects.
        Some(given) => match matched(solution, &given, paid) {
            Some(score) => score,
            None => return 0.0,
        },
    };
    if answer.contains("No Object") && solution.contains("No Object") { 1.0 } else { score }
}

/// Pays 1 when the symbolic step agrees, or one of the two answers contains the other, else 0.
///
/// Case, spaces and underscores do not matter. What it gets wrong: an empty answer is contained in every solution and
/// earns 1, as does an answer that lists every class, and `-5` for `5`.
pub(super) fn classification(row: &PeerRow<'_>, symbolic: Symbolic) -> f64 {
    let same = symbolic.same(row.completion, row.solution).unwrap_or(false);
    let bare = |text| line_answer(text).replace([' ', '_'], "").to_lowercase();
    let (answer, solution) = (bare(row.completion), bare(row.solution));
    f64::from(same || answer.contains(&solution) || solution.contains(&answer))
}

/// The list between the tags as JSON, single quotes made double, a cut-off end repaired.
fn boxes(text: &str) -> Option<Vec<Value>> {
    let start = text.find("<answer>")? + "<answer>".len();
    let end = text.find("</answer>").unwrap_or(text.len());
    let content = text.get(start..end).unwrap_or_default();
    let repaired = if content.ends_with(']') {
        content.to_owned()
    } else {
        format!("{}}}]", content.rsplit_once("},").map_or(content, |(whole, _)| whole))
    };
    // Only lists end in a bracket, so nothing else can be read here.
    serde_json::from_str(&repaired.replace('\'', "\"")).ok()
}

/// The score of a list; none where the original raises.
fn matched(solution: &str, given: &[Value], paid: Paid) -> Option<f64> {
    if !given.first()?.is_object() {
        return Some(0.0);
    }
    let given = without_repeats(given)?;
    let right = boxes(solution)?;
    let hits = overlaps(&right, given)?;
    let count = |n: usize| n as f64;
    Some(match paid {
        Paid::Iou => {
            let sum: f64 = hits.iter().map(|hit| hit.overlap).sum();
            (sum / count(right.len().max(hits.len()))).min(1.0)
        }
        Paid::Confidence => {
            let earned = |hit: &Hit| if hit.overlap == 0.0 { 1.0 - hit.confidence } else { hit.confidence };
            let sum: f64 = hits.iter().map(earned).sum();
            (sum / count(hits.len())).clamp(0.0, 1.0)
        }
    })
}

struct Hit {
    overlap: f64,
    confidence: f64,
}

/// The boxes whose position was not given before.
fn without_repeats(given: &[Value]) -> Option<Vec<&Map<String, Value>>> {
    let mut seen: Vec<Vec<Value>> = Vec::new();
    let mut kept = Vec::new();
    for item in given {
        let item = item.as_object()?;
        let position: Vec<Value> =
            item.get("Position")?.as_array()?.iter().map(comparable).collect::<Option<_>>()?;
        if !seen.contains(&position) {
            seen.push(position);
            kept.push(item);
        }
    }
    Some(kept)
}

/// A value that Python can hash, numbers as floats so that 1 is 1.0.
fn comparable(value: &Value) -> Option<Value> {
    match value {
        Value::Number(number) => number.as_f64().map(Value::from),
        Value::Bool(flag) => Some(Value::from(f64::from(*flag))),
        Value::String(_) | Value::Null => Some(value.clone()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn overlaps(right: &[Value], given: Vec<&Map<String, Value>>) -> Option<Vec<Hit>> {
    let confidences: Vec<f64> =
        given.iter().map(|item| number(item.get("Confidence")?)).collect::<Option<_>>()?;
    let mut order: Vec<usize> = (0..given.len()).collect();
    order.sort_by(|&a, &b| confidences[b].partial_cmp(&confidences[a]).unwrap_or(Ordering::Equal));
    let mut used = vec![false; right.len()];
    let mut hits = Vec::new();
    for at in order {
        let mut best = (0.0, None);
        for (i, right) in right.iter().enumerate().filter(|&(i, _)| !used[i]) {
            let overlap = iou(&position(right.get("Position")?)?, &position(given[at].get("Position")?)?);
            if overlap > best.0 {
                best = (overlap, Some(i));
            }
        }
        let overlap = match best {
            (overlap, Some(i)) if overlap > THRESHOLD => {
                used[i] = true;
                overlap
            }
            _ => 0.0,
        };
        hits.push(Hit { overlap, confidence: confidences[at] });
    }
    Some(hits)
}

fn position(value: &Value) -> Option<[f64; 4]> {
    let numbers: Vec<f64> = value.as_array()?.iter().map(number).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// A number as Python's arithmetic takes it: truth values are 0 and 1.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(f64::from))
}

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let (left, top) = (a[0].max(b[0]), a[1].max(b[1]));
    let (right, bottom) = (a[2].min(b[2]), a[3].min(b[3]));
    if right <= left || bottom <= top {
        return 0.0;
    }
    let inside = (right - left) * (bottom - top);
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    inside / (area(a) + area(b) - inside)
}
