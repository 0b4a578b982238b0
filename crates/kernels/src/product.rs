//! Products of a few rows with a weight matrix as checkpoints hold it.
//!
//! A decode step multiplies some dozen rows with every weight of the model, so it is bound by reading the weights. BLAS
//! libraries rearrange a matrix before they multiply, which pays from some hundred rows on. Here the few rows are turned
//! instead: numbers of different rows lie side by side, each weight is read once, in the order of memory, and meets all
//! of them at a time.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{parallel::n_pieces, prefetch::prefetch};

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

/// `x W^T + bias` of rows `x` `[m, input]` and weights `[output, input]`, to `out` `[m, output]`.
pub fn product(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    input: usize,
    out: &mut [f32],
    threads: usize,
) {
    let (m, output) = (x.len() / input, weight.len() / input);
    assert!(
        x.len() == m * input && weight.len() == output * input && out.len() == m * output && m > 0,
        "rows of x and of the weights are equally long"
    );
    assert!(bias.is_none_or(|bias| bias.len() == output), "one bias an output");
    let lanes = lanes_of(m);
    let turned = turn(x, input, lanes);
    let per_piece = output.div_ceil(n_pieces(threads, m * weight.len() / 16)).next_multiple_of(W_ROWS);
    if per_piece >= output {
        vectorize(lanes, Columns { turned: &turned, lanes, weight, bias, input, out, m });
        return;
    }
    let pieces: Vec<Vec<f32>> = weight
        .par_chunks(per_piece * input)
        .enumerate()
        .map(|(i, weight)| {
            let n = weight.len() / input;
            let mut piece = vec![0.0; m * n];
            let bias = bias.map(|bias| &bias[i * per_piece..][..n]);
            let turned = &turned;
            vectorize(lanes, Columns { turned, lanes, weight, bias, input, out: &mut piece, m });
            piece
        })
        .collect();
    for (i, piece) in pieces.iter().enumerate() {
        let n = piece.len() / m;
        for (row, from) in out.chunks_exact_mut(output).zip(piece.chunks_exact(n)) {
            row[i * per_piece..][..n].copy_from_slice(from);
        }
    }
}

/// `[input, lanes]` of `x` `[m, input]`, zeros behind its rows.
fn turn(x: &[f32], input: usize, lanes: usize) -> Vec<f32> {
    let mut turned = vec![0.0; input * lanes];
    for (row, x) in x.chunks_exact(input).enumerate() {
        for (to, &value) in turned[row..].iter_mut().step_by(lanes).zip(x) {
            *to = value;
        }
    }
    turned
}

/// All rows with some of the weights' rows.
struct Columns<'a> {
    turned: &'a [f32],
    lanes: usize,
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    input: usize,
    out: &'a mut [f32],
    m: usize,
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { turned, lanes, weight, bias, input, out, m } = self;
        let output = weight.len() / input;
        let width = S::F32_LANES;
        let mut sums = [[0.0_f32; WIDEST]; W_ROWS];
        for first in (0..output).step_by(W_ROWS) {
            let n = W_ROWS.min(output - first);
            let weight = &weight[first * input..];
            for row in (0..m).step_by(width) {
                if n == W_ROWS {
                    let tile = tile::<S, W_ROWS>(simd, &turned[row..], lanes, weight, input, input);
                    for (sum, to) in tile.into_iter().zip(&mut sums) {
                        simd.partial_store_f32s(&mut to[..width], sum);
                    }
                } else {
                    for (weight, to) in weight.chunks_exact(input).take(n).zip(&mut sums) {
                        let [sum] = tile::<S, 1>(simd, &turned[row..], lanes, weight, input, input);
                        simd.partial_store_f32s(&mut to[..width], sum);
                    }
                }
                for lane in 0..width.min(m - row) {
                    let to = &mut out[(row + lane) * output + first..][..n];
                    for (o, to) in to.iter_mut().enumerate() {
                        *to = sums[o][lane] + bias.map_or(0.0, |bias| bias[first + o]);
                    }
                }
            }
        }
    }
}

/// As many rows of `x` as a vector has lanes, `lanes` numbers to the next step, with `O` rows of weights, `stride` apart.
///
/// Several rows of weights at a time are too many streams for the processor to see which memory comes next, so the rows
/// behind these are asked for on the way.
#[inline(always)]
pub(crate) fn tile<S: Simd, const O: usize>(
    simd: S,
    turned: &[f32],
    lanes: usize,
    weight: &[f32],
    stride: usize,
    input: usize,
) -> [S::f32s; O] {
    let mut w_rows: [(&[[f32; UNROLLED]], &[f32]); O] = [(&[], &[]); O];
    for (o, w_row) in w_rows.iter_mut().enumerate() {
        *w_row = weight[o * stride..][..input].as_chunks();
    }
    let (x_rows, _) = S::as_simd_f32s(turned);
    let mut x_rows = x_rows.iter().step_by(lanes / S::F32_LANES);
    let mut sums = [simd.splat_f32s(0.0); O];
    for chunk in 0..input / UNROLLED {
        if (chunk * UNROLLED).is_multiple_of(LINE) {
            for o in 0..O {
                prefetch(weight, (O + o) * stride + chunk * UNROLLED);
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
