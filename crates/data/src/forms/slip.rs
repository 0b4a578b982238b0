//! Wrong answers made up for a sample that shares its right one with everybody around it.
//!
//! The exception: nearly all wrong answers are borrowed from other samples (see [`super`]). A slip is needed only
//! where a data set is tiny or its answers are all the same.

use rand::{Rng, seq::SliceRandom as _};
use reft_core::BoundingBox;

use super::answer::{Answer, Value};

/// An answer that differs from all of `taken`; none when nobody can tell what a wrong one would look like.
pub(super) fn slip(taken: &[&Answer], rng: &mut impl Rng) -> Option<Answer> {
    let mut candidates = match taken.first()? {
        Answer::Value(value) => numbers(value),
        Answer::Region(region) => regions(*region),
        Answer::Classes(_) => Vec::new(),
    };
    candidates.shuffle(rng);
    candidates.into_iter().find(|candidate| taken.iter().all(|answer| candidate.differs(answer)))
}

/// Off by a little, off by ten, a wrong sign. Enough for five options whatever the number.
fn numbers(value: &Value) -> Vec<Answer> {
    let Some(n) = value.integer() else {
        return Vec::new();
    };
    [1, -1, 2, -2, 3, -3, 10, -10]
        .iter()
        .map(|step| n + step)
        .filter(|&slipped| slipped >= 0 || n < 0)
        .map(|slipped| Answer::Value(Value::new(&slipped.to_string())))
        .collect()
}

/// The same box elsewhere in the image, on a grid of nine by nine positions.
fn regions(region: BoundingBox) -> Vec<Answer> {
    let (width, height) = (region.x2 - region.x1, region.y2 - region.y1);
    let starts = |side: f64| (0..9).map(move |i| f64::from(i) / 8.0 * (1.0 - side).max(0.0));
    starts(height)
        .flat_map(|y| starts(width).map(move |x| (x, y)))
        .map(|(x1, y1)| Answer::Region(BoundingBox { x1, y1, x2: x1 + width, y2: y1 + height }))
        .collect()
}
