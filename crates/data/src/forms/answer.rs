//! Solutions as values: comparable, with an order in which neighbours are plausible mistakes for each other.

use std::{cmp::Ordering, collections::BTreeMap};

use reft_core::{BoundingBox, BoxFrame, ImageSize, Sample, Task};
use reft_reward::parse_boxes;

use crate::DataError;

/// Boxes that overlap less than this (intersection over union) are different answers. Those that overlap by exactly 0.3 are
/// not, whichever way the fractions of their corners are rounded.
const MAX_OVERLAP: f64 = 0.3 - 1e-9;

/// The right answer of a sample, read from its solution.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Mathematics and short answers.
    Value(Value),
    /// Classes: the folded name and the name as written.
    Classes(BTreeMap<String, String>),
    /// A box in fractions of the image's sides, so that it means the same region in an image of another size.
    Region(BoundingBox),
}

/// A number, or text that is taken as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The solution as written.
    pub(super) text: String,
    key: ValueKey,
}

/// Numbers come first, by size; then texts by length, so that neighbours look alike.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ValueKey {
    /// A reduced fraction, denominator positive.
    Number(i128, i128),
    /// Text without white space, folded.
    Text(String),
}

impl Answer {
    /// Reads the solution of an open sample; none where it says that nothing is there.
    pub(super) fn of(sample: &Sample) -> Result<Option<Self>, DataError> {
        let fail = |message: String| DataError::Sample { sample: sample.id.to_string(), message };
        let solution = sample.solution.trim();
        if solution.is_empty() {
            return Err(fail("has an empty solution".into()));
        }
        Ok(Some(match sample.task {
            Task::Math | Task::Vqa => Self::Value(Value::new(solution)),
            Task::Classification => Self::Classes(classes(solution)),
            Task::Detection => {
                let boxes = parse_boxes(solution)
                    .ok_or_else(|| fail(format!("solution `{solution}` holds no box")))?;
                let Some(first) = boxes.first() else { return Ok(None) };
                Self::Region(to_unit(first.bbox, sample.box_frame, image_size(sample)))
            }
        }))
    }

    /// Whether both cannot be right for the same sample, so that one may stand in for a wrong answer of the other.
    pub(super) fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => a.key != b.key,
            (Self::Classes(a), Self::Classes(b)) => !a.keys().eq(b.keys()),
            (Self::Region(a), Self::Region(b)) => a.iou(b) < MAX_OVERLAP,
            _ => false,
        }
    }

    /// Neighbours in this order are alike: near numbers, sets that share members, boxes of similar area.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => a.cmp(b),
            (Self::Classes(a), Self::Classes(b)) => {
                a.len().cmp(&b.len()).then_with(|| a.keys().cmp(b.keys()))
            }
            (Self::Region(a), Self::Region(b)) => a.area().total_cmp(&b.area()),
            _ => Ordering::Equal,
        }
    }

    /// The answer as it is written into the question of `sample`.
    pub(super) fn shown_in(&self, sample: &Sample) -> String {
        match self {
            Self::Value(value) => value.text.clone(),
            Self::Classes(classes) => {
                let names: Vec<&str> = classes.values().map(String::as_str).collect();
                names.join(", ")
            }
            Self::Region(region) => show_box(*region, sample.box_frame, image_size(sample)),
        }
    }
}

impl Value {
    pub(super) fn new(text: &str) -> Self {
        let folded: String =
            text.chars().filter(|c| !c.is_whitespace() && *c != '$').flat_map(char::to_lowercase).collect();
        let key = match number(&folded) {
            Some((n, d)) => ValueKey::Number(n, d),
            None => ValueKey::Text(folded),
        };
        Self { text: text.to_owned(), key }
    }

    /// The value as a whole number, when it is one.
    pub(super) fn integer(&self) -> Option<i128> {
        match self.key {
            ValueKey::Number(n, 1) => Some(n),
            _ => None,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.key, &other.key) {
            // Numerators and denominators are below 10^18, so the products fit.
            (ValueKey::Number(a, b), ValueKey::Number(c, d)) => (a * d).cmp(&(c * b)),
            (ValueKey::Number(..), ValueKey::Text(_)) => Ordering::Less,
            (ValueKey::Text(_), ValueKey::Number(..)) => Ordering::Greater,
            (ValueKey::Text(a), ValueKey::Text(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Class names separated by commas or newlines; white space at the ends and case do not matter.
fn classes(solution: &str) -> BTreeMap<String, String> {
    solution
        .trim_matches(['[', ']'])
        .split([',', '\n'])
        .map(|name| name.trim().trim_matches(['"', '\'']))
        .filter(|name| !name.is_empty())
        .map(|name| (name.to_lowercase(), name.to_owned()))
        .collect()
}

/// A whole number, a decimal, `a/b` or `\frac{a}{b}`, with an optional `%`, as a reduced fraction.
fn number(text: &str) -> Option<(i128, i128)> {
    let (text, percent) = match text.strip_suffix('%') {
        Some(rest) => (rest.strip_suffix('\\').unwrap_or(rest), 100),
        None => (text, 1),
    };
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let fraction = text
        .strip_prefix("\\frac{")
        .or_else(|| text.strip_prefix("\\dfrac{"))
        .and_then(|rest| rest.strip_suffix('}')?.split_once("}{"))
        .or_else(|| text.split_once('/'));
    let (n, d) = match fraction {
        Some((n, d)) => {
            let ((a, b), (c, e)) = (decimal(n)?, decimal(d)?);
            (a * e, b * c)
        }
        None => decimal(text)?,
    };
    let d = d * percent;
    if d == 0 {
        return None;
    }
    let divisor = gcd(n, d);
    Some((sign * n / divisor, d / divisor))
}

/// An unsigned decimal of at most nine digits, so that no product overflows.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, 10_i128.pow(part.len() as u32)))
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What a frame's full sides are. Model-input boxes are taken as if the image were not resized: the same factor applies
/// on the way back, so regions stay right, and only their rounding is that of the original size.
fn sides(frame: BoxFrame, size: ImageSize) -> (f64, f64) {
    match frame {
        BoxFrame::Original | BoxFrame::ModelInput => (size.width.into(), size.height.into()),
        BoxFrame::Unit => (1.0, 1.0),
        BoxFrame::Thousand => (1000.0, 1000.0),
    }
}

fn to_unit(found: BoundingBox, frame: BoxFrame, size: ImageSize) -> BoundingBox {
    let (w, h) = sides(frame, size);
    BoundingBox { x1: found.x1 / w, y1: found.y1 / h, x2: found.x2 / w, y2: found.y2 / h }
}

/// `[x1, y1, x2, y2]` in the sample's own frame. The right box and the wrong ones go through here alike, so that the
/// number of decimals tells nothing.
fn show_box(region: BoundingBox, frame: BoxFrame, size: ImageSize) -> String {
    let (w, h) = sides(frame, size);
    let decimals = usize::from(frame == BoxFrame::Unit) * 3;
    let [x1, y1, x2, y2] = [region.x1 * w, region.y1 * h, region.x2 * w, region.y2 * h];
    format!("[{x1:.decimals$}, {y1:.decimals$}, {x2:.decimals$}, {y2:.decimals$}]")
}

/// The size of the first image; a detection sample without one is compared in its raw numbers.
fn image_size(sample: &Sample) -> ImageSize {
    sample.images().next().map_or(ImageSize { width: 1, height: 1 }, |image| image.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values() {
        let equal =
            [("1/2", "0.5"), ("\\frac{1}{2}", "50%"), ("-3.0", "-3"), ("$12$", "12"), ("X + 1", "x+1")];
        for (a, b) in equal {
            assert_eq!(Value::new(a).key, Value::new(b).key, "{a} {b}");
        }
        let different = [("1/2", "2"), ("12", "21"), ("\\sqrt{2}", "\\sqrt{3}"), ("1/0", "0")];
        for (a, b) in different {
            assert_ne!(Value::new(a).key, Value::new(b).key, "{a} {b}");
        }
    }

    #[test]
    fn boxes_that_overlap_by_the_limit_are_not_different() {
        let of = |[x1, y1, x2, y2]: [f64; 4]| {
            Answer::Region(BoundingBox { x1: x1 / 1000.0, y1: y1 / 1000.0, x2: x2 / 1000.0, y2: y2 / 1000.0 })
        };
        // 45 x 36 of 3465 and 3555: 1620 / 5400.
        let (a, b) = (of([558.0, 755.0, 613.0, 818.0]), of([558.0, 782.0, 603.0, 861.0]));
        assert!(!a.differs(&b) && !b.differs(&a));
        assert!(of([558.0, 755.0, 613.0, 817.0]).differs(&b));
    }
}
