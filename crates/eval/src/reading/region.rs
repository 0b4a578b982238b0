//! Boxes as the graders of RefCOCO read them.
//!
//! Sources: VLMEvalKit as ms-vlmeval 0.0.20, `dataset/refcoco.py`; lmms-eval 0.7.3, `tasks/refcoco/utils_rec.py` and
//! `tasks/refcoco_grounding/utils.py`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::pattern;

/// Corners: left, top, right, bottom.
pub(crate) type Corners = [f64; 4];

/// Largest number of a box in fractions of the image.
const FRACTIONS: f64 = 1.5;
/// Largest number of a box in thousandths.
const THOUSANDTHS: f64 = 1000.0;
/// Keys that hold a box in JSON.
const KEYS: [&str; 7] = ["bbox_2d", "bbox", "box", "coordinates", "coord", "location", "position"];

const NUMBER: &str = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?";
static NUMBERS: LazyLock<Regex> = LazyLock::new(|| pattern(NUMBER));
static BRACKETED: LazyLock<Regex> = LazyLock::new(|| {
    let next = format!(r"(?:\s*,\s*|\s+)({NUMBER})");
    pattern(&format!(r"\[\s*({NUMBER}){next}{next}{next}\s*\]"))
});
static FRACTION_LIST: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(-?\d+(?:\.\d+)?)";
    pattern(&format!(r"\[\s*{number},\s*{number},\s*{number},\s*{number}\s*\]"))
});
static ANY_FOUR: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(-?\d+(?:\.\d+)?)";
    let between = r"\s*[,\s]\s*";
    pattern(&format!(r"\[?\s*{number}{between}{number}{between}{number}{between}{number}\s*\]?"))
});
static FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?is)```(?:json)?\s*(.*?)\s*```"));

/// VLMEvalKit: the first bracketed box, else the first four numbers anywhere, `2` of `bbox_2d` among them.
pub(crate) fn first(text: &str) -> Option<Corners> {
    let read = |number: &str| reft_math::python::float(number);
    let bracketed = BRACKETED.captures_iter(text).find_map(|found| {
        let (_, numbers) = found.extract::<4>();
        let [a, b, c, d] = numbers.map(read);
        Some([a?, b?, c?, d?])
    });
    bracketed.or_else(|| {
        let mut numbers = NUMBERS.find_iter(text).map(|found| read(found.as_str()));
        let mut next = || numbers.next().flatten();
        Some([next()?, next()?, next()?, next()?])
    })
}

/// VLMEvalKit: a box as pixels, whatever its numbers look like: fractions, thousandths, or pixels.
pub(crate) fn guessed_pixels(corners: Corners, (width, height): (f64, f64)) -> Corners {
    let most = corners.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    let scale = |x: f64, side: f64| {
        if most <= FRACTIONS {
            x * side
        } else if most <= THOUSANDTHS {
            x / THOUSANDTHS * side
        } else {
            x
        }
    };
    let clip = |x: f64, side: f64| scale(x, side).clamp(0.0, side);
    let [x1, y1, x2, y2] = corners;
    let (x1, x2) = (clip(x1, width), clip(x2, width));
    let (y1, y2) = (clip(y1, height), clip(y2, height));
    [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)]
}

/// lmms-eval: the first four numbers in square brackets with commas; zeros where there are none.
pub(crate) fn fractions(text: &str) -> Corners {
    let found = FRACTION_LIST.captures(text).and_then(|found| four(&found));
    found.unwrap_or_default()
}

/// lmms-eval, grounding: every box of the JSON in a text, else every four numbers.
pub(crate) fn all(text: &str) -> Vec<Corners> {
    let mut boxes = Vec::new();
    if let Some(value) = json_in(text) {
        collect(&value, &mut boxes);
    }
    if boxes.is_empty() {
        boxes.extend(ANY_FOUR.captures_iter(text).filter_map(|found| four(&found)));
    }
    boxes
}

fn four(found: &regex::Captures<'_>) -> Option<Corners> {
    let number = |i: usize| found.get(i).and_then(|text| reft_math::python::float(text.as_str()));
    Some([number(1)?, number(2)?, number(3)?, number(4)?])
}

/// What a text holds as JSON: a code fence, the whole, or from the first bracket or brace to the last.
fn json_in(text: &str) -> Option<Value> {
    let text = reft_math::python::strip(text);
    let read = |text: &str| serde_json::from_str(text).ok();
    let fenced = FENCE.captures(text).and_then(|found| read(found.get(1)?.as_str()));
    fenced.or_else(|| read(text)).or_else(|| {
        [('[', ']'), ('{', '}')].into_iter().find_map(|(open, close)| {
            let (start, end) = (text.find(open)?, text.rfind(close)?);
            if end > start { read(&text[start..=end]) } else { None }
        })
    })
}

fn collect(value: &Value, boxes: &mut Vec<Corners>) {
    match value {
        Value::Array(entries) => match corners(entries) {
            Some(found) => boxes.push(found),
            None => entries.iter().for_each(|entry| collect(entry, boxes)),
        },
        Value::Object(object) => {
            let named = KEYS.iter().find_map(|key| loose_corners(object.get(*key)?.as_array()?));
            match named {
                Some(found) => boxes.push(found),
                None => object.values().for_each(|entry| collect(entry, boxes)),
            }
        }
        _ => {}
    }
}

/// Four numbers; truth values are numbers, as in Python.
fn corners(entries: &[Value]) -> Option<Corners> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
    let [a, b, c, d] = entries else { return None };
    Some([number(a)?, number(b)?, number(c)?, number(d)?])
}

/// Four numbers, or texts that are numbers.
fn loose_corners(entries: &[Value]) -> Option<Corners> {
    let number = |value: &Value| match value {
        Value::String(text) => reft_math::python::float(text),
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        value => value.as_f64(),
    };
    let [a, b, c, d] = entries else { return None };
    Some([number(a)?, number(b)?, number(c)?, number(d)?])
}

/// Overlap as a share of the union, boxes without an extent having none.
pub(crate) fn overlap(a: Corners, b: Corners) -> f64 {
    let side = |low: f64, high: f64| (high - low).max(0.0);
    let area = |c: Corners| side(c[0], c[2]) * side(c[1], c[3]);
    let both = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let union = area(a) + area(b) - both;
    if union > 0.0 { both / union } else { 0.0 }
}

/// [`overlap`] with areas that may be negative, as lmms-eval computes it for boxes whose corners are swapped.
pub(crate) fn signed_overlap(a: Corners, b: Corners) -> f64 {
    let area = |c: Corners| (c[2] - c[0]) * (c[3] - c[1]);
    let side = |low: f64, high: f64| (high - low).max(0.0);
    let both = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_in_texts() {
        assert_eq!(first("{\"bbox_2d\": [1, 2, 3, 4]}"), Some([1.0, 2.0, 3.0, 4.0]));
        assert_eq!(first("bbox_2d (5,6),(7,8)"), Some([2.0, 5.0, 6.0, 7.0]));
        assert_eq!(first("[1, 2, 3"), None);
        assert_eq!(fractions("[0.1, 0.2, 0.3, 0.4]"), [0.1, 0.2, 0.3, 0.4]);
        assert_eq!(fractions("[0.1 0.2 0.3 0.4]"), [0.0; 4]);
        assert_eq!(all("```json\n[{\"bbox_2d\": [1, 2, 3, 4]}]\n```"), [[1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(all("1 2 3 4"), [[1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(guessed_pixels([0.5, 0.0, 1.0, 1.0], (100.0, 50.0)), [50.0, 0.0, 100.0, 50.0]);
        assert_eq!(overlap([0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0]), 1.0 / 3.0);
    }
}
