//! Pieces of a layer in the turned layout, `[numbers, lanes]`: rows of the batch lie side by side.

use std::ops::Range;

use multiversion::multiversion;

use super::weights::Linear;
use crate::product::{W_ROWS, product};

/// The outputs that a member makes of so many: whole bundles of weight rows.
pub(super) fn share(outputs: usize, member: usize, members: usize) -> Range<usize> {
    let bundles = outputs.div_ceil(W_ROWS);
    let bound = |member: usize| (bundles * member / members * W_ROWS).min(outputs);
    bound(member)..bound(member + 1)
}

/// Some outputs of a linear layer for `x` `[input, lanes]`, behind what is in `out`. `low` is memory to work in.
pub(super) fn linear(
    layer: &Linear<'_>,
    outputs: Range<usize>,
    x: &[f32],
    lanes: usize,
    [low, update]: [&mut Vec<f32>; 2],
    out: &mut Vec<f32>,
) {
    let (input, from) = (x.len() / lanes, out.len());
    out.resize(from + outputs.len() * lanes, 0.0);
    let out = &mut out[from..];
    product(x, lanes, &layer.weight[outputs.start * input..outputs.end * input], out);
    if let Some(bias) = layer.bias {
        add_to_each(&bias[outputs.clone()], lanes, out);
    }
    for part in &layer.updates {
        let both = outputs.start.max(part.first)..outputs.end.min(part.first + part.b.len() / part.rank);
        if both.is_empty() {
            continue;
        }
        low.resize(part.rank * lanes, 0.0);
        product(x, lanes, part.a, low);
        for x in low.iter_mut() {
            *x *= part.scale;
        }
        update.resize(both.len() * lanes, 0.0);
        product(
            low,
            lanes,
            &part.b[(both.start - part.first) * part.rank..][..both.len() * part.rank],
            update,
        );
        add(update, &mut out[(both.start - outputs.start) * lanes..][..both.len() * lanes]);
    }
}

/// `to += x`.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn add(x: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
}

#[multiversion(targets("x86_64+avx2"))]
fn add_to_each(bias: &[f32], lanes: usize, out: &mut [f32]) {
    for (out, bias) in out.chunks_exact_mut(lanes).zip(bias) {
        for out in out {
            *out += bias;
        }
    }
}

/// Root mean square norm of each lane (Zhang & Sennrich 2019). `sums` is memory to work in.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn norm(
    x: &[f32],
    lanes: usize,
    weight: &[f32],
    eps: f32,
    sums: &mut Vec<f32>,
    out: &mut Vec<f32>,
) {
    /// Sums of a lane that are taken side by side.
    const APART: usize = 4;
    sums.clear();
    sums.resize(APART * lanes, 0.0);
    for chunk in x.chunks(APART * lanes) {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x * x);
    }
    let (scales, others) = sums.split_at_mut(lanes);
    for others in others.chunks_exact(lanes) {
        scales.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
    }
    for sum in scales.iter_mut() {
        *sum = 1.0 / (*sum / weight.len() as f32 + eps).sqrt();
    }
    out.resize(x.len(), 0.0);
    for ((out, x), weight) in out.chunks_exact_mut(lanes).zip(x.chunks_exact(lanes)).zip(weight) {
        for ((out, x), scale) in out.iter_mut().zip(x).zip(&*scales) {
            *out = x * scale * weight;
        }
    }
}

/// Lanes of a head, and the angles they are turned by.
pub(super) struct Head<'a> {
    /// `[d, lanes]`.
    pub(super) x: &'a [f32],
    pub(super) lanes: usize,
    /// Those that are meant.
    pub(super) rows: Range<usize>,
    /// `[d]` and epsilon of a norm that comes first.
    pub(super) norm: Option<(&'a [f32], f32)>,
    /// `[d / 2, lanes]`.
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    pub(super) factor: f32,
}

/// The head normed, turned (Su et al. 2021, half-split layout) and times the factor, to the lanes of `out`
/// `[d, out_lanes]` from `at` on.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn turn(head: &Head<'_>, out: &mut [f32], out_lanes: usize, at: usize, scales: &mut Vec<f32>) {
    let &Head { x, lanes, ref rows, norm, cos, sin, factor } = head;
    let (n, half) = (rows.len(), cos.len() / lanes);
    let part = |x: &'_ [f32], i: usize| -> Range<usize> {
        debug_assert!(x.len() >= (i + 1) * lanes);
        i * lanes + rows.start..i * lanes + rows.end
    };
    scales.clear();
    scales.resize(n, factor);
    if let Some((weight, eps)) = norm {
        scales.fill(0.0);
        for i in 0..2 * half {
            scales.iter_mut().zip(&x[part(x, i)]).for_each(|(sum, x)| *sum += x * x);
        }
        let d = weight.len() as f32;
        for sum in scales.iter_mut() {
            *sum = factor / (*sum / d + eps).sqrt();
        }
    }
    let (left_out, right_out) = out.split_at_mut(half * out_lanes);
    for i in 0..half {
        let [w_left, w_right] = norm.map_or([1.0; 2], |(weight, _)| [weight[i], weight[half + i]]);
        let (left, right) = (&x[part(x, i)], &x[part(x, half + i)]);
        let (cos, sin) = (&cos[part(cos, i)], &sin[part(sin, i)]);
        let left_out = &mut left_out[i * out_lanes + at..][..n];
        let right_out = &mut right_out[i * out_lanes + at..][..n];
        for row in 0..n {
            let (left, right) = (left[row] * w_left * scales[row], right[row] * w_right * scales[row]);
            left_out[row] = left * cos[row] - right * sin[row];
            right_out[row] = right * cos[row] + left * sin[row];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_bundles_that_cover_all() {
        for (outputs, members) in [(20, 3), (8, 4), (7, 2), (1536, 5)] {
            let shares: Vec<_> = (0..members).map(|member| share(outputs, member, members)).collect();
            assert_eq!((shares[0].start, shares[members - 1].end), (0, outputs));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(shares.iter().all(|share| share.start.is_multiple_of(W_ROWS) || share.is_empty()));
        }
        assert_eq!(share(20, 1, 3), 8..16);
    }
}
