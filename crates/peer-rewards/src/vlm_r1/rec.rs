//! Referring expressions: one box.

use serde_json::Value;

use super::super::{
    PeerRow, Raises,
    tags::{Span, first_answer, first_whole_box, last_answer},
    visual_rft::number,
};

/// Qwen: the overlap of the first box of whole numbers in the first answer block, brought from model-input pixels to
/// those of the image, 0 to 1.
///
/// What it gets wrong: decimals, signs and white space before a comma hide the box; the overlap counts one pixel less
/// on the right and lower side. Models that answer in pixels of the original image are scaled all the same.
pub(in super::super) fn qwen_iou(row: &PeerRow<'_>) -> Result<f64, Raises> {
    let solution = solution(row)?;
    let image = row.image.ok_or(Raises::Row("the row has no `image_size` in its `kwargs`"))?;
    let input = row.model_input.ok_or(Raises::Row("the row has no `image_grid_thw` in its `kwargs`"))?;
    let scale = |value: f64, input: u32, image: u32| value / f64::from(input) * f64::from(image);
    Ok(overlap(row, &solution, |[x1, y1, x2, y2]| {
        [
            scale(x1, input.width, image.width),
            scale(y1, input.height, image.height),
            scale(x2, input.width, image.width),
            scale(y2, input.height, image.height),
        ]
    }))
}

/// InternVL: the same without scaling.
pub(in super::super) fn internvl_iou(row: &PeerRow<'_>) -> Result<f64, Raises> {
    let solution = solution(row)?;
    Ok(overlap(row, &solution, |bbox| bbox))
}

/// The solution's JSON. The original reads it outside its safety net.
fn solution(row: &PeerRow<'_>) -> Result<Value, Raises> {
    let solution = last_answer(row.solution).ok_or(Raises::Row("the solution has no answer block"))?;
    serde_json::from_str(solution).map_err(|_| Raises::Row("the solution is no JSON"))
}

fn overlap(row: &PeerRow<'_>, solution: &Value, scaled: impl Fn([f64; 4]) -> [f64; 4]) -> f64 {
    let given = first_answer(row.completion, Span::Lines).and_then(first_whole_box).map(scaled);
    let right = corners(solution);
    given.zip(right).and_then(|(given, right)| iou(&given, &right)).unwrap_or(0.0)
}

/// The first four numbers of a list.
pub(super) fn corners(value: &Value) -> Option<[f64; 4]> {
    let numbers: Vec<f64> = value.as_array()?.iter().take(4).map(number).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// Intersection over union as VLM-R1 computes it; none where the union is empty.
///
/// The inclusive pixels are counted in the intersection only when it is wider and higher than one, so two equal boxes
/// of one pixel do not overlap.
pub(in super::super) fn iou(a: &[f64; 4], b: &[f64; 4]) -> Option<f64> {
    let (left, top) = (a[0].max(b[0]), a[1].max(b[1]));
    let (right, bottom) = ((a[2] - 1.0).min(b[2] - 1.0), (a[3] - 1.0).min(b[3] - 1.0));
    let inside = if left < right && top < bottom { (right - left + 1.0) * (bottom - top + 1.0) } else { 0.0 };
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let union = area(a) + area(b) - inside;
    (union != 0.0).then(|| inside / union)
}
