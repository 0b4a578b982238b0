//! Boxes as models write them.

use reft_core::BoundingBox;
use serde_json::{Map, Value};

use crate::text::{normalize_text, without_decoration, without_fence};

/// Most boxes of an answer that are compared; the others only count.
pub(crate) const MAX_BOXES: usize = 100;

/// A box with what is written beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundBox {
    /// The box, in whatever frame it was written.
    pub bbox: BoundingBox,
    /// Whether it was written from the upper left to the lower right corner, as prompts ask.
    pub is_upright: bool,
    /// Its label, in lower case and without outer white space.
    pub label: Option<String>,
    /// How sure the model is, as written.
    pub confidence: Option<f64>,
}

const BOX_KEYS: [&str; 6] = ["bbox_2d", "bbox", "box_2d", "box", "bounding_box", "Position"];
const LABEL_KEYS: [&str; 4] = ["label", "class", "category", "name"];
const CONFIDENCE_KEYS: [&str; 3] = ["confidence", "score", "Confidence"];
const LIST_KEYS: [&str; 5] = ["boxes", "bboxes", "objects", "detections", "annotations"];

/// Reads every box, in order: JSON in a code fence or bare, single quotes too; a list of four numbers, an object with
/// `bbox_2d`, lists of those, objects with a list under `boxes` or `objects`, objects from label to box or boxes; or
/// `[x1, y1, x2, y2]` inside other text, or Qwen2-VL's `(x1,y1),(x2,y2)` with or without its tokens.
///
/// A box of numbers that are missing or not finite is none, and items of a list that hold no box are left out.
/// That nothing is there is an answer too: an empty list, `No Objects`, `None`. None when there is neither.
pub fn parse_boxes(answer: &str) -> Option<Vec<FoundBox>> {
    let bare = without_fence(answer);
    let Some(value) = json(bare) else {
        let found = boxes_in_text(bare);
        return (!found.is_empty() || says_nothing(bare)).then_some(found);
    };
    let mut found = Vec::new();
    collect(&value, None, &mut found);
    let is_empty_list = matches!(&value, Value::Array(items) if items.is_empty());
    (is_empty_list || !found.is_empty()).then_some(found)
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.replace('\'', "\""))).ok()
}

/// Adds the boxes of a value, which a label may stand before.
fn collect(value: &Value, label: Option<&str>, found: &mut Vec<FoundBox>) {
    match value {
        Value::Array(items) => match numbers(items) {
            Some(numbers) => found.extend(labelled(&numbers, label)),
            None => items.iter().for_each(|item| collect(item, label, found)),
        },
        Value::Object(fields) => object(fields, label, found),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object(fields: &Map<String, Value>, label: Option<&str>, found: &mut Vec<FoundBox>) {
    if let Some(value) = field(fields, &BOX_KEYS) {
        let own = field(fields, &LABEL_KEYS).and_then(Value::as_str);
        let first = found.len();
        collect(value, own.or(label), found);
        let confidence = field(fields, &CONFIDENCE_KEYS).and_then(Value::as_f64);
        for item in &mut found[first..] {
            item.confidence = confidence;
        }
    } else if let Some(list) = field(fields, &LIST_KEYS) {
        collect(list, label, found);
    } else {
        // `{"cat": [1, 2, 3, 4], "dog": [[..], [..]]}`
        for (key, value) in fields {
            collect(value, Some(key), found);
        }
    }
}

fn field<'a>(fields: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|&key| fields.get(key))
}

/// The items, when each is a number.
fn numbers(items: &[Value]) -> Option<Vec<f64>> {
    if items.is_empty() { None } else { items.iter().map(Value::as_f64).collect() }
}

/// The box of two corners; none of other numbers than four, or of numbers that no box has.
fn labelled(numbers: &[f64], label: Option<&str>) -> Option<FoundBox> {
    let &[x1, y1, x2, y2] = numbers else { return None };
    Some(FoundBox {
        bbox: BoundingBox::new(x1, y1, x2, y2)?,
        is_upright: x1 <= x2 && y1 <= y2,
        label: label.map(normalize_text).filter(|label| !label.is_empty()),
        confidence: None,
    })
}

/// `No Objects` (Visual-RFT) and `None` (VLM-R1's descriptions).
fn says_nothing(text: &str) -> bool {
    ["no objects", "no object", "none"].contains(&normalize_text(without_decoration(text)).as_str())
}

/// Bytes in which a name or four numbers end, so that noise with many brackets costs linear time.
const LONGEST: usize = 200;

/// What names the boxes behind it, in Qwen2-VL's notation and in Qwen-VL's.
const REFERENCES: [(&str, &str); 2] = [("<|object_ref_start|>", "<|object_ref_end|>"), ("<ref>", "</ref>")];

/// Every pair of square brackets with exactly four numbers between, and every `(x1,y1),(x2,y2)`.
fn boxes_in_text(text: &str) -> Vec<FoundBox> {
    let (mut found, mut label, mut at) = (Vec::new(), None, 0);
    while let Some(next) = text[at..].find(['[', '(', '<']) {
        at += next;
        let rest = &text[at..];
        if let Some((name, length)) = reference(rest) {
            label = Some(name);
            at += length;
        } else if let Some((numbers, length)) = four_numbers(rest).or_else(|| two_points(rest)) {
            found.extend(labelled(&numbers, label));
            at += length;
        } else {
            at += 1;
        }
    }
    found
}

/// A name that the text begins with, and how long it is with its marks.
fn reference(text: &str) -> Option<(&str, usize)> {
    REFERENCES.into_iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?;
        let end = inner.bytes().take(LONGEST).position(|byte| byte == b'<')?;
        inner[end..].starts_with(close).then_some(())?;
        Some((&inner[..end], open.len() + end + close.len()))
    })
}

/// `[x1, y1, x2, y2]`, and its length.
fn four_numbers(text: &str) -> Option<(Vec<f64>, usize)> {
    numbers_between(text, '[', ']').filter(|(numbers, _)| numbers.len() == 4)
}

/// `(x1,y1),(x2,y2)`, and its length.
fn two_points(text: &str) -> Option<(Vec<f64>, usize)> {
    let (mut numbers, first) = numbers_between(text, '(', ')')?;
    let rest = text[first..].trim_start();
    let rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    let (second, length) = numbers_between(rest, '(', ')')?;
    let are_points = numbers.len() == 2 && second.len() == 2;
    numbers.extend(second);
    are_points.then(|| (numbers, text.len() - rest.len() + length))
}

fn numbers_between(text: &str, open: char, close: char) -> Option<(Vec<f64>, usize)> {
    let inner = text.strip_prefix(open)?;
    // No number holds the beginning of another box, so noise of brackets is looked at once.
    let end = inner.bytes().take(LONGEST).position(|byte| byte == close as u8 || b"[(<".contains(&byte))?;
    if !inner[end..].starts_with(close) {
        return None;
    }
    let numbers = inner[..end].split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
    Some((numbers, open.len_utf8() + end + close.len_utf8()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse_box(answer: &str) -> Option<BoundingBox> {
        parse_boxes(answer)?.first().map(|found| found.bbox)
    }

    #[test]
    fn every_way_to_write_a_box() {
        let expected = BoundingBox::new(1.0, 2.0, 3.0, 4.5);
        let cases = [
            "{\"bbox_2d\": [1, 2, 3, 4.5]}",
            "```json\n{\"bbox_2d\": [1, 2, 3, 4.5], \"label\": \"7\"}\n```",
            "```json\n[{\"bbox_2d\": [1, 2, 3, 4.5]}]\n```",
            "[{\"bbox_2d\": [1, 2, 3, 4.5]}, {\"bbox_2d\": [0, 0, 9, 9]}]",
            "[1, 2, 3, 4.5]",
            "[[1, 2, 3, 4.5]]",
            "{'bbox_2d': [1, 2, 3, 4.5]}",
            "The box is [1,2,3,4.5].",
            "[3, 4.5, 1, 2]",
            "{\"box\": [1, 2, 3, 4.5]}",
            "{\"cat\": [1, 2, 3, 4.5]}",
            "(1,2),(3,4.5)",
            "(3, 4.5) (1, 2)",
            "<|box_start|>(1,2),(3,4.5)<|box_end|>",
            "<box>(1,2),(3,4.5)</box>",
        ];
        for text in cases {
            assert_eq!(parse_box(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_box() {
        let cases = [
            "",
            "yes",
            "B",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5]",
            "[1, 2, 3, NaN]",
            "[1, 2, 3, inf]",
            "1, 2, 3, 4",
            "(1, 2)",
            "(1, 2), (3)",
            "f(1, 2), g(3, 4)",
            "{\"bbox_2d\": []}",
            "{\"bbox_2d\": [1, 2, 3, \"4\"]}",
            "[1, 2, 3, 1e999]",
        ];
        for text in cases {
            assert_eq!(parse_box(text), None, "{text}");
            assert_eq!(parse_boxes(text), None, "{text}");
        }
    }

    /// Boxes `[n, n, n + 1, n + 1]` with labels and confidences, as `n label confidence`.
    fn shown(answer: &str) -> Option<Vec<String>> {
        Some(
            parse_boxes(answer)?
                .iter()
                .map(|FoundBox { bbox, label, confidence, .. }| {
                    let confidence = confidence.map(|c| c.to_string()).unwrap_or_default();
                    format!("{} {} {confidence}", bbox.x1, label.as_deref().unwrap_or_default())
                        .trim()
                        .to_owned()
                })
                .collect(),
        )
    }

    #[test]
    fn every_way_to_write_many_boxes() {
        let cases: [(&str, &[&str]); 19] = [
            ("[]", &[]),
            ("No Objects", &[]),
            ("none.", &[]),
            ("**None**", &[]),
            (
                "<|object_ref_start|>the Dog<|object_ref_end|><|box_start|>(1,1),(2,2)<|box_end|><|box_start|>(3,3),(4,4)<|box_end|>",
                &["1 the dog", "3 the dog"],
            ),
            ("<ref>cat</ref><box>(1,1),(2,2)</box><ref>dog</ref><box>(3,3),(4,4)</box>", &["1 cat", "3 dog"]),
            ("(1,1),(2,2) and [3, 3, 4, 4]", &["1", "3"]),
            ("[[1, 1, 2, 2], [3, 3, 4, 4]]", &["1", "3"]),
            (r#"[{"bbox_2d": [1, 1, 2, 2], "label": " Cat "}, {"bbox_2d": [3, 3, 4, 4]}]"#, &["1 cat", "3"]),
            (r#"{"bbox_2d": [[1, 1, 2, 2], [3, 3, 4, 4]], "label": "cat"}"#, &["1 cat", "3 cat"]),
            (r#"{"objects": [{"bbox": [1, 1, 2, 2], "class": "dog", "score": 0.5}]}"#, &["1 dog 0.5"]),
            (r#"{"boxes": [[1, 1, 2, 2]]}"#, &["1"]),
            (
                r#"{"cat": [1, 1, 2, 2], "Traffic light": [[3, 3, 4, 4], [5, 5, 6, 6]]}"#,
                &["1 cat", "3 traffic light", "5 traffic light"],
            ),
            ("[{'Position': [1, 1, 2, 2], 'Confidence': 0.9}]", &["1  0.9"]),
            ("first [1, 1, 2, 2], then [3, 3, 4, 4]; [5] is none", &["1", "3"]),
            ("```json\n[{\"bbox_2d\": [1, 1, 2, 2]}]\n```", &["1"]),
            // What holds no box is left out.
            (r#"[{"bbox_2d": [1, 1, 2, 2]}, {"bbox_2d": [1, 2]}, "no", 5, [1, 2]]"#, &["1"]),
            (r#"[{"bbox_2d": [1, 1, 2, 2], "label": 7}]"#, &["1"]),
            ("{\"bbox_2d\": [1, 1, 2, 2]}, {\"bbox_2d\": [3, 3, 4, 4]}", &["1", "3"]),
        ];
        for (answer, expected) in cases {
            assert_eq!(shown(answer).as_deref().unwrap(), expected, "{answer}");
        }
        for answer in ["", "none of them", "{}", "[[]]", "[\"cat\"]", "null", "5"] {
            assert_eq!(parse_boxes(answer), None, "{answer}");
        }
    }

    #[test]
    fn noise_is_cheap() {
        let noises =
            ["[".repeat(100_000), "[[1,".repeat(30_000), "(1,2)(3,".repeat(30_000), "<ref>".repeat(30_000)];
        for noise in noises {
            assert_eq!(parse_box(&noise), None);
            assert_eq!(parse_boxes(&noise), None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            let found = parse_boxes(&text).unwrap_or_default();
            prop_assert!(found.iter().all(|found| found.bbox.area() >= 0.0));
        }
    }
}
