//! Boxes as models write them.

use reft_core::BoundingBox;
use serde_json::{Map, Value};

use crate::text::{normalize_text, without_fence};

/// Most boxes of an answer that are compared; the others only count.
pub const MAX_BOXES: usize = 100;

/// A box with what is written beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundBox {
    /// The box, in whatever frame it was written.
    pub bbox: BoundingBox,
    /// Its label, in lower case and without outer white space.
    pub label: Option<String>,
    /// How sure the model is, as written.
    pub confidence: Option<f64>,
}

const BOX_KEYS: [&str; 6] = ["bbox_2d", "bbox", "box_2d", "box", "bounding_box", "Position"];
const LABEL_KEYS: [&str; 4] = ["label", "class", "category", "name"];
const CONFIDENCE_KEYS: [&str; 3] = ["confidence", "score", "Confidence"];
const LIST_KEYS: [&str; 5] = ["boxes", "bboxes", "objects", "detections", "annotations"];

/// Reads one box: the first of [`parse_boxes`], so listing many does not pay.
pub fn parse_box(answer: &str) -> Option<BoundingBox> {
    parse_boxes(answer)?.first().map(|found| found.bbox)
}

/// Reads every box, in order: JSON in a code fence or bare, single quotes too; a list of four numbers, an object with
/// `bbox_2d`, lists of those, objects with a list under `boxes` or `objects`, objects from label to box or boxes; or
/// `[x1, y1, x2, y2]` inside other text.
///
/// A box of numbers that are missing or not finite is none, and items of a list that hold no box are left out.
/// An empty list is an answer too: nothing is there. None when there is neither.
pub fn parse_boxes(answer: &str) -> Option<Vec<FoundBox>> {
    let bare = without_fence(answer);
    let Some(value) = json(bare) else {
        let found: Vec<FoundBox> = boxes_in_text(bare).map(unlabelled).collect();
        return (!found.is_empty()).then_some(found);
    };
    let mut found = Vec::new();
    collect(&value, None, &mut found);
    let says_nothing = matches!(&value, Value::Array(items) if items.is_empty());
    (says_nothing || !found.is_empty()).then_some(found)
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.replace('\'', "\""))).ok()
}

/// Adds the boxes of a value, which a label may stand before.
fn collect(value: &Value, label: Option<&str>, found: &mut Vec<FoundBox>) {
    match value {
        Value::Array(items) => match numbers(items) {
            Some(numbers) => found.extend(bounding_box(&numbers).map(|bbox| labelled(bbox, label))),
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

fn bounding_box(numbers: &[f64]) -> Option<BoundingBox> {
    match *numbers {
        [x1, y1, x2, y2] => BoundingBox::new(x1, y1, x2, y2),
        _ => None,
    }
}

fn labelled(bbox: BoundingBox, label: Option<&str>) -> FoundBox {
    FoundBox { bbox, label: label.map(normalize_text).filter(|label| !label.is_empty()), confidence: None }
}

fn unlabelled(bbox: BoundingBox) -> FoundBox {
    labelled(bbox, None)
}

/// Every pair of square brackets with exactly four numbers between.
fn boxes_in_text(text: &str) -> impl Iterator<Item = BoundingBox> + '_ {
    text.match_indices('[').filter_map(|(open, _)| {
        let inner = &text[open + 1..];
        // Four numbers need few characters, so noise with many brackets costs linear time.
        let close = inner.bytes().take(200).position(|byte| byte == b']')?;
        let numbers: Vec<f64> =
            inner[..close].split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
        bounding_box(&numbers)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
                .map(|FoundBox { bbox, label, confidence }| {
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
        let cases: [(&str, &[&str]); 13] = [
            ("[]", &[]),
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
        for answer in ["", "none", "{}", "[[]]", "[\"cat\"]", "null", "5"] {
            assert_eq!(parse_boxes(answer), None, "{answer}");
        }
    }

    #[test]
    fn noise_is_cheap() {
        for noise in ["[".repeat(100_000), "[[1,".repeat(30_000)] {
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
