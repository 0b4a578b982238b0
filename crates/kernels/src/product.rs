//! Products of a few rows with a weight matrix as checkpoints hold it.
//!
//! A decode step multiplies some dozen rows with every weight of the model, so it is bound by reading the weights. BLAS
//! libraries rearrange a matrix before they multiply, which pays from some hundred rows on. Here the few rows are turned
//! instead: numbers of different rows lie side by side, `[input, lanes]`, each weight is read once, in the order of
//! memory, and meets all of them at a time. What comes out, `[output, lanes]`, is what the next product takes.

use pulp::{Arch, Simd, WithSimd};

use crate::prefetch::prefetch;

/// Rows of the weights that are worked on together: enough sums to keep the multipliers busy.
pub(crate) const W_ROWS: usize = 8;
/// Numbers of the widest vector.
pub(crate) const WIDEST: usize = 16;
/// Numbers of the vector that few rows take: of a wider one, half would be zeros.
const NARROW: usize = 8;
/// Steps written out one after another, so that addresses are worked out once for all of them.
const UNROLLED: usize = 4;
/// Numbers of a cache line.
const LINE: usize = 16;

/// Numbers side by side for so many rows.
pub(crate) fn lanes_of(rows: usize) -> usize {
    rows.next_multiple_of(if rows <= NARROW { NARROW } else { WIDEST })
}

/// Runs it with the widest vectors that the machine has and that `lanes` numbers fill. A row's result is the same with
/// all of them.
pub(crate) fn vectorize<T>(lanes: usize, work: impl WithSimd<Output = T>) -> T {
    #[cfg(target_arch = "x86_64")]
    if lanes == NARROW
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return Simd::vectorize(simd, work);
    }
    Arch::new().dispatch(work)
}

/// `out^T = x W^T` for `x^T` `[input, lanes]` and weights `[output, input]`: `[output, lanes]`.
pub(crate) fn product(turned: &[f32], lanes: usize, weight: &[f32], out: &mut [f32]) {
    let input = turned.len() / lanes;
    assert!(
        turned.len() == input * lanes && weight.len() * lanes == out.len() * input,
        "rows of x and of the weights are equally long"
    );
    vectorize(lanes, Product { turned, lanes, weight, input, out });
}

struct Product<'a> {
    turned: &'a [f32],
    lanes: usize,
    weight: &'a [f32],
    input: usize,
    out: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { turned, lanes, weight, input, out } = self;
        rows(simd, turned, lanes, weight, input, out);
    }
}

/// The product for rows of `input` numbers.
#[inline(always)]
pub(crate) fn rows<S: Simd>(
    simd: S,
    turned: &[f32],
    lanes: usize,
    weight: &[f32],
    input: usize,
    out: &mut [f32],
) {
    let n = weight.len() / input;
    for first in (0..n).step_by(W_ROWS) {
        let (weight, out) = (&weight[first * input..], &mut out[first * lanes..]);
        for lane in (0..lanes).step_by(S::F32_LANES) {
            if first + W_ROWS <= n {
                let tile = tile::<S, W_ROWS>(simd, &turned[lane..], lanes, weight, input);
                for (o, sum) in tile.into_iter().enumerate() {
                    simd.partial_store_f32s(&mut out[o * lanes + lane..][..S::F32_LANES], sum);
                }
            } else {
                for o in 0..n - first {
                    let [sum] = tile::<S, 1>(simd, &turned[lane..], lanes, &weight[o * input..], input);
                    simd.partial_store_f32s(&mut out[o * lanes + lane..][..S::F32_LANES], sum);
                }
            }
        }
    }
}

/// As many rows of `x` as a vector has lanes, `lanes` numbers to the next step, with `O` rows of weights.
///
/// Several rows of weights at a time are too many streams for the processor to see which memory comes next, so the rows
/// behind these are asked for on the way.
#[inline(always)]
fn tile<S: Simd, const O: usize>(
    simd: S,
    turned: &[f32],
    lanes: usize,
    weight: &[f32],
    input: usize,
) -> [S::f32s; O] {
    let mut w_rows: [(&[[f32; UNROLLED]], &[f32]); O] = [(&[], &[]); O];
    for (o, w_row) in w_rows.iter_mut().enumerate() {
        *w_row = weight[o * input..][..input].as_chunks();
    }
    let (x_rows, _) = S::as_simd_f32s(turned);
    let mut x_rows = x_rows.iter().step_by(lanes / S::F32_LANES);
    let mut sums = [simd.splat_f32s(0.0); O];
    for chunk in 0..input / UNROLLED {
        if (chunk * UNROLLED).is_multiple_of(LINE) {
            for o in 0..O {
                prefetch(weight, (O + o) * input + chunk * UNROLLED);
            }
        }
        for (u, &x) in x_rows.by_ref().take(UNROLLED).enumerate() {
            for (sum, (chunks, _)) in sums.iter_mut().zip(&w_rows) {
                *sum = simd.mul_add_e_f32s(x, simd.splat_f32s(chunks[chunk][u]), *sum);
            }
        }
    }
    for (at, &x) in x_rows.take(input % UNROLLED).enumerate() {
        for (sum, (_, rest)) in sums.iter_mut().zip(&w_rows) {
            *sum = simd.mul_add_e_f32s(x, simd.splat_f32s(rest[at]), *sum);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_their_formula((m, input, output) in (1_usize..40, 1_usize..70, 1_usize..40)) {
            let numbers = |n: usize, seed: usize| -> Vec<f32> {
                (0..n).map(|i| ((i * 7919 + seed) % 2003) as f32 / 1001.5 - 1.0).collect()
            };
            let lanes = lanes_of(m);
            let (turned, weight) = (numbers(input * lanes, 1), numbers(output * input, 77));
            let mut out = vec![f32::NAN; output * lanes];
            product(&turned, lanes, &weight, &mut out);
            for (i, &got) in out.iter().enumerate() {
                let (o, lane) = (i / lanes, i % lanes);
                let terms = turned[lane..].iter().step_by(lanes).zip(&weight[o * input..][..input]);
                let want = terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                prop_assert!((f64::from(got) - want).abs() < 1e-5, "{o} {lane}: {got} {want}");
            }
        }
    }
}
