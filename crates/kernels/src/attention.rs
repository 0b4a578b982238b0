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
    /// Scores of one query over its completion's own tokens.
    own_scores: Vec<f32>,
    /// `[d]` the result of one query over its completion's own tokens.
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

        scratch.own_out.resize(d, 0.0);
        for i in 0..n {
            let (slot, head) = (slots[i / repeat], kv * repeat + i % repeat);
            let (own_max, own_sum) = over_own(simd, step, kv, slot, query(i), scale, scratch);
            // Both parts relative to the larger of their maxima.
            let largest = max[i].max(own_max);
            let (weight, own_weight) = (exp(max[i] - largest), exp(own_max - largest));
            let total = sum[i] * weight + own_sum * own_weight;
            let (weight, own_weight) = (weight / total, own_weight / total);
            let out = &mut out[(i / repeat * heads + head) * d..][..d];
            let of_prompt = scratch.turned_out[i..].iter().step_by(lanes);
            for ((to, of_prompt), of_own) in out.iter_mut().zip(of_prompt).zip(&scratch.own_out) {
                *to = of_prompt * weight + of_own * own_weight;
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

/// One query over its completion's own tokens: the same, with the sums in `own_out`.
#[inline(always)]
fn over_own<S: Simd>(
    simd: S,
    step: &SharedPrefix<'_>,
    kv: usize,
    slot: usize,
    query: &[f32],
    scale: f32,
    scratch: &mut Scratch,
) -> (f32, f32) {
    let (kv_heads, d, width) = (step.heads.kv, step.heads.d, S::F32_LANES);
    let (blocks, length) = (step.own.blocks, step.own.lengths[slot]);
    let start = |block: usize| ((slot * blocks + block) * kv_heads + kv) * d * BLOCK;
    let Scratch { own_scores, own_out, .. } = scratch;
    own_scores.resize(length.next_multiple_of(BLOCK), 0.0);
    for (block, scores) in own_scores.chunks_exact_mut(BLOCK).enumerate() {
        let keys = &step.own.keys[start(block)..][..d * BLOCK];
        for at in (0..BLOCK.min(length - block * BLOCK)).step_by(width) {
            let mut sum = simd.splat_f32s(0.0);
            for (i, q) in query.iter().enumerate() {
                let key = simd.partial_load_f32s(&keys[i * BLOCK + at..][..width]);
                sum = simd.mul_add_e_f32s(key, simd.splat_f32s(*q), sum);
            }
            let sum = simd.mul_f32s(sum, simd.splat_f32s(scale));
            simd.partial_store_f32s(&mut scores[at..at + width], sum);
        }
    }
    let scores = &mut own_scores[..length];
    let max = max_of(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - max);
    }
    let sum = sum_of(scores, |p| p);

    own_out.fill(0.0);
    for (block, weights) in scores.chunks(BLOCK).enumerate() {
        let values = &step.own.values[start(block)..][..d * BLOCK];
        for at in (0..d).step_by(width) {
            let here = at..d.min(at + width);
            let mut sum = simd.partial_load_f32s(&own_out[here.clone()]);
            for (place, weight) in weights.iter().enumerate() {
                let value = simd.partial_load_f32s(&values[place * d..][here.clone()]);
                sum = simd.mul_add_e_f32s(value, simd.splat_f32s(*weight), sum);
            }
            simd.partial_store_f32s(&mut own_out[here], sum);
        }
    }
    (max, sum)
}
