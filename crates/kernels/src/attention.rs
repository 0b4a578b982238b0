//! One decode step of attention over a prompt that a group shares and each completion's own tokens.
//!
//! `softmax(q [K_prompt, K_own]^T / sqrt(d)) [V_prompt; V_own]` per completion and head, as the mean of two softmaxes
//! weighted by their sums of exponentials (shared-prefix attention; Juravsky et al. 2024, Hydragen, equation 3).
//!
//! Over the prompt, the queries of a group lie side by side: each number of a key or value is read once and meets all of
//! them. Over a completion's own tokens there are only the few queries of one completion: there neighbouring places
//! (keys) or numbers of a head (values) lie side by side.
//!
//! Sizes: m completions, n prompts, h heads, k key/value heads, d width of a head, l places.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::{
    lanes::{exp, max_of, sum_of},
    parallel::n_pieces,
    product::{W_ROWS, WIDEST, lanes_of, tile, vectorize},
};

/// Places of a block of a completion's own tokens. A block is the unit in which memory is touched.
pub const BLOCK: usize = 32;

/// Queries of a completion that share a read of its own keys and values.
const TOGETHER: usize = 2;

/// Keys and values of prompts.
#[derive(Clone, Copy, Debug)]
pub struct Prompts<'a> {
    /// `[n, k, places, d]`.
    pub keys: &'a [f32],
    /// `[n, k, d, places]`, transposed.
    pub values: &'a [f32],
    /// Places that each prompt has room for.
    pub places: usize,
    /// `[n]` places in use.
    pub lengths: &'a [usize],
}

/// Keys and values of completions' own tokens.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// `[slots, blocks, k, d, BLOCK]`, transposed.
    pub keys: &'a [f32],
    /// `[slots, blocks, k, BLOCK, d]`.
    pub values: &'a [f32],
    /// Blocks that each completion has room for.
    pub blocks: usize,
    /// `[slots]` places in use, the newest included.
    pub lengths: &'a [usize],
}

/// Who reads what in a step.
#[derive(Clone, Copy, Debug)]
pub struct SharedPrefix<'a> {
    /// The prompts.
    pub prompts: Prompts<'a>,
    /// The completions: slot `i` belongs to prompt `i / group_size`.
    pub own: Own<'a>,
    /// Completions of a prompt.
    pub group_size: usize,
    /// `[m]` slots that take part in the step, ascending.
    pub slots: &'a [usize],
    /// Widths.
    pub heads: Heads,
}

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub n: usize,
    /// Key/value heads, each shared by equally many query heads.
    pub kv: usize,
    /// Width of a head.
    pub d: usize,
}

/// Rows of numbers, `stride` from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The numbers, those between rows too.
    pub numbers: &'a [f32],
    /// Numbers from the start of a row to that of the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// The first `width` numbers of a row.
    pub fn row(&self, i: usize, width: usize) -> &'a [f32] {
        &self.numbers[i * self.stride..][..width]
    }
}

/// Attention of queries `[m, h * d]` to `out` `[m, h * d]`.
pub fn attend(step: &SharedPrefix<'_>, queries: Rows<'_>, out: &mut [f32], threads: usize) {
    let Heads { n: heads, kv, d } = step.heads;
    let (width, m) = (heads * d, step.slots.len());
    assert!(out.len() == m * width && heads.is_multiple_of(kv), "one output row a completion");
    let longest =
        step.prompts.lengths.iter().max().unwrap_or(&0) + step.own.lengths.iter().max().unwrap_or(&0);
    let pieces = n_pieces(threads, m * width * longest / WIDEST).min(m.max(1));
    let per_piece = m.div_ceil(pieces).max(1);
    let piece = |i: usize, out: &mut [f32]| {
        let first = i * per_piece;
        let mut scratch = Scratch::default();
        let slots = &step.slots[first..first + out.len() / width];
        let mut row = 0;
        for run in slots.chunk_by(|a, b| a / step.group_size == b / step.group_size) {
            let run_out = &mut out[row * width..(row + run.len()) * width];
            let queries = Rows { numbers: &queries.numbers[(first + row) * queries.stride..], ..queries };
            row += run.len();
            for kv in 0..kv {
                let (out, scratch) = (&mut *run_out, &mut scratch);
                let lanes = lanes_of(run.len() * (heads / step.heads.kv));
                vectorize(lanes, OneHead { step, kv, slots: run, queries, out, scratch, lanes });
            }
        }
    };
    if pieces <= 1 {
        piece(0, out);
    } else {
        out.par_chunks_mut(per_piece * width).enumerate().for_each(|(i, out)| piece(i, out));
    }
}

/// Memory that heads use one after another.
#[derive(Default)]
struct Scratch {
    /// `[d, lanes]` the queries, scaled.
    turned: Vec<f32>,
    /// `[places, lanes]` their scores over the prompt.
    scores: Vec<f32>,
    /// `[d, lanes]` their results over the prompt.
    turned_out: Vec<f32>,
    /// Scores of a few queries over their completion's own tokens.
    own_scores: Vec<f32>,
    /// `[queries, d]` their results there.
    own_out: Vec<f32>,
}

/// The completions `slots` of one prompt, the query heads of one key/value head.
struct OneHead<'a> {
    step: &'a SharedPrefix<'a>,
    kv: usize,
    slots: &'a [usize],
    queries: Rows<'a>,
    out: &'a mut [f32],
    scratch: &'a mut Scratch,
    lanes: usize,
}

impl WithSimd for OneHead<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { step, kv, slots, queries, out, scratch, lanes } = self;
        let Heads { n: heads, d, .. } = step.heads;
        let repeat = heads / step.heads.kv;
        let n = slots.len() * repeat;
        let scale = 1.0 / (d as f32).sqrt();
        let query = |i: usize| &queries.row(i / repeat, heads * d)[(kv * repeat + i % repeat) * d..][..d];

        scratch.turned.clear();
        scratch.turned.resize(d * lanes, 0.0);
        for i in 0..n {
            for (to, from) in scratch.turned[i..].iter_mut().step_by(lanes).zip(query(i)) {
                *to = from * scale;
            }
        }
        let (max, sum) = over_prompt(simd, step, kv, slots[0] / step.group_size, lanes, scratch);

        for (row, &slot) in slots.iter().enumerate() {
            let mut first = 0;
            while first < repeat {
                let mut merge = |own: OwnPart, part: usize, scratch: &Scratch| {
                    let i = row * repeat + first + part;
                    // Both parts relative to the larger of their maxima.
                    let largest = max[i].max(own.max);
                    let (weight, own_weight) = (exp(max[i] - largest), exp(own.max - largest));
                    let total = sum[i] * weight + own.sum * own_weight;
                    let (weight, own_weight) = (weight / total, own_weight / total);
                    let out = &mut out[(row * heads + kv * repeat + first + part) * d..][..d];
                    let of_prompt = scratch.turned_out[i..].iter().step_by(lanes);
                    let of_own = &scratch.own_out[part * d..][..d];
                    for ((to, of_prompt), of_own) in out.iter_mut().zip(of_prompt).zip(of_own) {
                        *to = of_prompt * weight + of_own * own_weight;
                    }
                };
                let at = row * repeat + first;
                let taken = if repeat - first >= TOGETHER {
                    let queries = std::array::from_fn(|part| query(at + part));
                    let parts: [_; TOGETHER] = over_own(simd, step, kv, slot, queries, scale, scratch);
                    parts.into_iter().enumerate().for_each(|(part, own)| merge(own, part, scratch));
                    TOGETHER
                } else {
                    let [own] = over_own(simd, step, kv, slot, [query(at)], scale, scratch);
                    merge(own, 0, scratch);
                    1
                };
                first += taken;
            }
        }
    }
}

/// The queries over their prompt: leaves sums of values weighted by `e^(score - max)` in `turned_out`, and returns the
/// largest score and the sum of weights of each.
#[inline(always)]
fn over_prompt<S: Simd>(
    simd: S,
    step: &SharedPrefix<'_>,
    kv: usize,
    prompt: usize,
    lanes: usize,
    scratch: &mut Scratch,
) -> (Vec<f32>, Vec<f32>) {
    let Prompts { keys, values, places, lengths } = step.prompts;
    let (d, length) = (step.heads.d, lengths[prompt]);
    let start = (prompt * step.heads.kv + kv) * d * places;
    let Scratch { turned, scores, turned_out, .. } = scratch;
    scores.resize(length * lanes, 0.0);
    products(simd, turned, lanes, &keys[start..][..length * d], d, d, scores);

    let mut max = vec![f32::NEG_INFINITY; lanes];
    for scores in scores.chunks_exact(lanes) {
        for (max, &score) in max.iter_mut().zip(scores) {
            *max = if score > *max { score } else { *max };
        }
    }
    let mut sum = vec![0.0; lanes];
    for scores in scores.chunks_exact_mut(lanes) {
        for ((score, max), sum) in scores.iter_mut().zip(&max).zip(&mut sum) {
            *score = exp(*score - max);
            *sum += *score;
        }
    }
    turned_out.resize(d * lanes, 0.0);
    products(simd, scores, lanes, &values[start..][..d * places], places, length, turned_out);
    (max, sum)
}

/// `out^T = rows x^T` for `x^T` `[input, lanes]` and rows of `input` numbers, `stride` apart: `[rows, lanes]`.
#[inline(always)]
fn products<S: Simd>(
    simd: S,
    turned: &[f32],
    lanes: usize,
    rows: &[f32],
    stride: usize,
    input: usize,
    out: &mut [f32],
) {
    let n = rows.len() / stride;
    let width = S::F32_LANES;
    for first in (0..n).step_by(W_ROWS) {
        let (rows, out) = (&rows[first * stride..], &mut out[first * lanes..]);
        for lane in (0..lanes).step_by(width) {
            if first + W_ROWS <= n {
                let tile = tile::<S, W_ROWS>(simd, &turned[lane..], lanes, rows, stride, input);
                for (o, sum) in tile.into_iter().enumerate() {
                    simd.partial_store_f32s(&mut out[o * lanes + lane..][..width], sum);
                }
            } else {
                for o in 0..n - first {
                    let rows = &rows[o * stride..];
                    let [sum] = tile::<S, 1>(simd, &turned[lane..], lanes, rows, stride, input);
                    simd.partial_store_f32s(&mut out[o * lanes + lane..][..width], sum);
                }
            }
        }
    }
}

/// What a query finds among its completion's own tokens.
#[derive(Clone, Copy)]
struct OwnPart {
    /// The largest score.
    max: f32,
    /// Sum of `e^(score - max)`.
    sum: f32,
}

/// Queries of one completion over its own tokens: the same, with the sums of values in `own_out` `[Q, d]`.
#[inline(always)]
fn over_own<S: Simd, const Q: usize>(
    simd: S,
    step: &SharedPrefix<'_>,
    kv: usize,
    slot: usize,
    queries: [&[f32]; Q],
    scale: f32,
    scratch: &mut Scratch,
) -> [OwnPart; Q] {
    let (kv_heads, d) = (step.heads.kv, step.heads.d);
    let (blocks, length) = (step.own.blocks, step.own.lengths[slot]);
    let start = |block: usize| ((slot * blocks + block) * kv_heads + kv) * d * BLOCK;
    let room = length.next_multiple_of(BLOCK);
    let Scratch { own_scores, own_out, .. } = scratch;
    own_scores.resize(Q * room, 0.0);
    for block in 0..room / BLOCK {
        let (keys, _) = S::as_simd_f32s(&step.own.keys[start(block)..][..d * BLOCK]);
        let per_block = BLOCK / S::F32_LANES;
        for at in 0..(length - block * BLOCK).min(BLOCK).div_ceil(S::F32_LANES) {
            let mut sums = [simd.splat_f32s(0.0); Q];
            for (i, &key) in keys[at..].iter().step_by(per_block).enumerate() {
                for (sum, query) in sums.iter_mut().zip(&queries) {
                    *sum = simd.mul_add_e_f32s(key, simd.splat_f32s(query[i]), *sum);
                }
            }
            for (q, sum) in sums.into_iter().enumerate() {
                let scores = &mut own_scores[q * room + block * BLOCK + at * S::F32_LANES..][..S::F32_LANES];
                simd.partial_store_f32s(scores, simd.mul_f32s(sum, simd.splat_f32s(scale)));
            }
        }
    }
    let mut parts = [OwnPart { max: f32::NEG_INFINITY, sum: 0.0 }; Q];
    for (part, scores) in parts.iter_mut().zip(own_scores.chunks_exact_mut(room)) {
        let scores = &mut scores[..length];
        part.max = max_of(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - part.max);
        }
        part.sum = sum_of(scores, |p| p);
    }

    own_out.clear();
    own_out.resize(Q * d, 0.0);
    for block in 0..room / BLOCK {
        let values = &step.own.values[start(block)..][..d * BLOCK];
        let n = (length - block * BLOCK).min(BLOCK);
        for at in (0..d).step_by(S::F32_LANES) {
            let here = at..d.min(at + S::F32_LANES);
            let mut sums = [simd.splat_f32s(0.0); Q];
            for (q, sum) in sums.iter_mut().enumerate() {
                *sum = load(simd, &own_out[q * d..][here.clone()]);
            }
            for place in 0..n {
                let value = load(simd, &values[place * d..][here.clone()]);
                for (q, sum) in sums.iter_mut().enumerate() {
                    let weight = simd.splat_f32s(own_scores[q * room + block * BLOCK + place]);
                    *sum = simd.mul_add_e_f32s(value, weight, *sum);
                }
            }
            for (q, sum) in sums.into_iter().enumerate() {
                simd.partial_store_f32s(&mut own_out[q * d..][here.clone()], sum);
            }
        }
    }
    parts
}

/// A vector of as many numbers as it has, or of fewer and zeros. Few are fetched by a call, so whole vectors are told apart.
#[inline(always)]
fn load<S: Simd>(simd: S, x: &[f32]) -> S::f32s {
    match S::as_simd_f32s(x) {
        (&[whole], []) => whole,
        _ => simd.partial_load_f32s(x),
    }
}
