//! One decode step of attention over a prompt that a group shares and each completion's own tokens.
//!
//! `softmax(q [K_prompt, K_own]^T / sqrt(d)) [V_prompt; V_own]` per completion and head. Keys lie transposed, so that
//! scores of neighbouring tokens are computed side by side; the queries of a group are taken four at a time, so that the
//! prompt is read once for them (shared-prefix attention; Juravsky et al. 2024, Hydragen).
//!
//! Sizes: m completions, n prompts, h heads, k key/value heads, d width of a head, l places.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::lanes::{exp, max_of, sum_of};

/// Places of a tile.
const TILE: usize = 16;
/// Queries that share a pass over keys and values.
const QUERIES: usize = 4;
/// Multiplications below which threads cost more than they bring.
const WORTH_THREADS: usize = 1 << 18;

/// Keys and values of some sequences.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// `[sequences, k, d, places]`, transposed.
    pub keys: &'a [f32],
    /// `[sequences, k, places, d]`.
    pub values: &'a [f32],
    /// Places that each sequence has room for.
    pub places: usize,
    /// Places in use, per sequence.
    pub lengths: &'a [usize],
}

/// Who reads what in a step.
#[derive(Clone, Copy, Debug)]
pub struct SharedPrefix<'a> {
    /// `[n]` prompts.
    pub prompts: Keys<'a>,
    /// `[m]` completions' own tokens, the newest included.
    pub own: Keys<'a>,
    /// `[m]` prompt of each completion; those of one prompt are neighbours.
    pub owners: &'a [usize],
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, each shared by equally many query heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub d: usize,
}

/// Attention of queries `[m, h, d]`, whose rows lie `stride` numbers apart, to `out` `[m, h * d]`.
pub fn attend(step: &SharedPrefix<'_>, q: &[f32], stride: usize, out: &mut [f32], threads: usize) {
    let width = step.heads * step.d;
    let m = step.owners.len();
    assert!(
        out.len() == m * width && step.heads.is_multiple_of(step.kv_heads),
        "one output row a completion"
    );
    let longest =
        step.prompts.lengths.iter().max().unwrap_or(&0) + step.own.lengths.iter().max().unwrap_or(&0);
    let work = 2 * m * width * longest;
    let pieces = threads.min(work / WORTH_THREADS + 1).min(m.max(1));
    let per_piece = m.div_ceil(pieces.max(1)).max(1);
    let piece = |i: usize, out: &mut [f32]| {
        let first = i * per_piece;
        let mut scratch = Scratch::default();
        let owners = &step.owners[first..first + out.len() / width];
        let mut row = 0;
        for run in owners.chunk_by(|a, b| a == b) {
            let rows = first + row..first + row + run.len();
            let run_out = &mut out[row * width..(row + run.len()) * width];
            row += run.len();
            for kv in 0..step.kv_heads {
                one_head(step, kv, run[0], rows.clone(), q, stride, run_out, &mut scratch);
            }
        }
    };
    if pieces <= 1 {
        piece(0, out);
    } else {
        out.par_chunks_mut(per_piece * width).enumerate().for_each(|(i, out)| piece(i, out));
    }
}

#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
}

/// The completions `rows` of one prompt, the query heads of one key/value head.
#[multiversion(targets("x86_64+avx2"))]
#[expect(clippy::too_many_arguments, reason = "the innermost step names what it touches")]
fn one_head(
    step: &SharedPrefix<'_>,
    kv: usize,
    prompt: usize,
    rows: std::ops::Range<usize>,
    q: &[f32],
    stride: usize,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let (d, repeat) = (step.d, step.heads / step.kv_heads);
    let length = step.prompts.lengths[prompt];
    let prompt_head = prompt * step.kv_heads + kv;
    let keys = &step.prompts.keys[prompt_head * d * step.prompts.places..];
    let values = &step.prompts.values[prompt_head * d * step.prompts.places..];
    let longest = length + rows.clone().map(|row| step.own.lengths[row]).max().unwrap_or(0);
    // Scores of a tile may run over the end.
    let places = longest + 2 * TILE;

    // The queries of all rows, scaled, with whole blocks of them.
    let n = rows.len() * repeat;
    let padded = n.next_multiple_of(QUERIES);
    let scale = 1.0 / (d as f32).sqrt();
    scratch.queries.clear();
    for row in rows.clone() {
        let first = row * stride + kv * repeat * d;
        scratch.queries.extend(q[first..first + repeat * d].iter().map(|v| v * scale));
    }
    scratch.queries.resize(padded * d, 0.0);
    scratch.scores.resize(padded * places, 0.0);

    for (block, scores) in
        scratch.queries.chunks_exact(QUERIES * d).zip(scratch.scores.chunks_exact_mut(QUERIES * places))
    {
        scores_block::<QUERIES>(block, keys, step.prompts.places, length, d, scores, places);
    }
    for (i, row) in rows.clone().enumerate() {
        let own = step.own.lengths[row];
        let own_head = (row * step.kv_heads + kv) * d * step.own.places;
        for r in i * repeat..(i + 1) * repeat {
            let scores = &mut scratch.scores[r * places..(r + 1) * places];
            let query = &scratch.queries[r * d..(r + 1) * d];
            scores_block::<1>(
                query,
                &step.own.keys[own_head..],
                step.own.places,
                own,
                d,
                &mut scores[length..],
                0,
            );
            softmax(&mut scores[..length + own]);
        }
    }

    out.chunks_exact_mut(step.heads * d)
        .for_each(|row| row[kv * repeat * d..(kv + 1) * repeat * d].fill(0.0));
    let mut outputs = [[0.0_f32; TILE]; QUERIES];
    for first in (0..n).step_by(QUERIES) {
        let block = &scratch.scores[first * places..(first + QUERIES) * places];
        for tile in (0..d).step_by(TILE) {
            let width = TILE.min(d - tile);
            values_block::<QUERIES>(block, places, values, length, d, tile, &mut outputs);
            for (i, output) in outputs.iter().enumerate().take(n - first) {
                let (row, head) = ((first + i) / repeat, kv * repeat + (first + i) % repeat);
                let at = (row * step.heads + head) * d + tile;
                out[at..at + width].copy_from_slice(&output[..width]);
            }
        }
    }
    let mut output = [[0.0_f32; TILE]; 1];
    for (i, row) in rows.enumerate() {
        let own = step.own.lengths[row];
        let own_values = &step.own.values[(row * step.kv_heads + kv) * d * step.own.places..];
        for r in 0..repeat {
            let scores = &scratch.scores[(i * repeat + r) * places + length..];
            for tile in (0..d).step_by(TILE) {
                let width = TILE.min(d - tile);
                values_block::<1>(scores, 0, own_values, own, d, tile, &mut output);
                let at = (i * step.heads + kv * repeat + r) * d + tile;
                for (o, v) in out[at..at + width].iter_mut().zip(&output[0]) {
                    *o += v;
                }
            }
        }
    }
}

/// Scores of `Q` queries `[Q, d]` with the first `length` of `places` keys `[d, places]`, to rows of `scores` that lie
/// `stride` apart.
#[inline(always)]
fn scores_block<const Q: usize>(
    queries: &[f32],
    keys: &[f32],
    places: usize,
    length: usize,
    d: usize,
    scores: &mut [f32],
    stride: usize,
) {
    let whole = length / TILE * TILE;
    for tile in (0..whole).step_by(TILE) {
        let mut sums = [[0.0_f32; TILE]; Q];
        for i in 0..d {
            let row: &[f32; TILE] = keys[i * places + tile..].first_chunk().unwrap_or(&[0.0; TILE]);
            for (query, sums) in sums.iter_mut().enumerate() {
                let scale = queries[query * d + i];
                for (sum, &key) in sums.iter_mut().zip(row) {
                    *sum += scale * key;
                }
            }
        }
        for (query, sums) in sums.iter().enumerate() {
            scores[query * stride + tile..][..TILE].copy_from_slice(sums);
        }
    }
    for place in whole..length {
        for query in 0..Q {
            let mut sum = 0.0;
            for i in 0..d {
                sum += queries[query * d + i] * keys[i * places + place];
            }
            scores[query * stride + place] = sum;
        }
    }
}

/// `sum_l scores[l] values[l]` for `Q` rows of scores and the numbers `tile..` of a head.
#[inline(always)]
fn values_block<const Q: usize>(
    scores: &[f32],
    stride: usize,
    values: &[f32],
    length: usize,
    d: usize,
    tile: usize,
    out: &mut [[f32; TILE]; Q],
) {
    let width = TILE.min(d - tile);
    let mut sums = [[0.0_f32; TILE]; Q];
    for place in 0..length {
        let row = &values[place * d + tile..][..width];
        if let Some(row) = row.first_chunk::<TILE>() {
            for (query, sums) in sums.iter_mut().enumerate() {
                let p = scores[query * stride + place];
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += p * value;
                }
            }
        } else {
            for (query, sums) in sums.iter_mut().enumerate() {
                let p = scores[query * stride + place];
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += p * value;
                }
            }
        }
    }
    *out = sums;
}

#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let max = max_of(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - max);
    }
    let scale = 1.0 / sum_of(scores, |p| p);
    for score in scores {
        *score *= scale;
    }
}
