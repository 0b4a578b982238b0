//! Boxes as models write them.

use reft_core::BoundingBox;
use serde_json::Value;

use crate::text::without_fence;

/// Reads a box: JSON in a code fence or bare, an object with `bbox_2d`, a list of four numbers, a list of objects (the
/// first with a box counts), single-quoted objects, or one `[x1, y1, x2, y2]` inside other text.
///
/// Only the first box counts, so listing many boxes does not pay. None when a number is missing or not finite.
pub fn parse_box(answer: &str) -> Option<BoundingBox> {
    let bare = without_fence(answer);
    serde_json::from_str(bare)
        .or_else(|_| serde_json::from_str(&bare.replace('\'', "\"")))
        .map_or_else(|_| box_in_text(bare), |value: Value| box_in_json(&value))
}

fn box_in_json(value: &Value) -> Option<BoundingBox> {
    match value {
        Value::Array(items) => {
            let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
            match numbers.as_deref() {
                Some(&[x1, y1, x2, y2]) => BoundingBox::new(x1, y1, x2, y2),
                Some(_) => None,
                None => items.iter().find_map(box_in_json),
            }
        }
        Value::Object(fields) => ["bbox_2d", "bbox", "box_2d", "box", "bounding_box"]
            .into_iter()
            .find_map(|key| fields.get(key))
            .and_then(box_in_json),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The first pair of square brackets with exactly four numbers between.
fn box_in_text(text: &str) -> Option<BoundingBox> {
    text.match_indices('[').find_map(|(open, _)| {
        let inner = &text[open + 1..];
        // Four numbers need few characters, so noise with many brackets costs linear time.
        let close = inner.bytes().take(200).position(|byte| byte == b']')?;
        let numbers: Vec<f64> =
            inner[..close].split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
        match numbers[..] {
            [x1, y1, x2, y2] => BoundingBox::new(x1, y1, x2, y2),
            _ => None,
        }
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
            "{\"x\": [1, 2, 3, 4]}",
            "[1, 2, 3, 1e999]",
        ];
        for text in cases {
            assert_eq!(parse_box(text), None, "{text}");
        }
    }

    #[test]
    fn noise_is_cheap() {
        assert_eq!(parse_box(&"[".repeat(100_000)), None);
        assert_eq!(parse_box(&"[[1,".repeat(30_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            let _ = parse_box(&text);
        }
    }
}
