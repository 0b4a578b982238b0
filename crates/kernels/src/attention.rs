//! One decode step of attention over a prompt that a group shares and each completion's own tokens.
//!
//! `softmax(q [K_prompt, K_own]^T / sqrt(d)) [V_prompt; V_own]` per completion and head. Keys lie transposed, so that
//! scores of neighbouring tokens are computed side by side; the queries of a group are taken four at a time, so that the
//! prompt is read once for them (shared-prefix attention; Juravsky et al. 2024, Hydragen).
//!
//! Sizes: m completions, n prompts, h heads, k key/value heads, d width of a head, l places.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::{
    lanes::{exp, max_of, sum_of},
    parallel::n_pieces,
};

/// Places of a tile.
const TILE: usize = 16;
/// Queries that share a pass over keys and values.
const QUERIES: usize = 4;

/// Places of a block of a completion's own tokens. A block is the unit in which memory is touched.
pub const BLOCK: usize = 32;

/// Keys and values of prompts.
#[derive(Clone, Copy, Debug)]
pub struct Prompts<'a> {
    /// `[n, k, d, places]`, transposed.
    pub keys: &'a [f32],
    /// `[n, k, places, d]`.
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
    let pieces = n_pieces(threads, m * width * longest / TILE).min(m.max(1));
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
            for kv in 0..step.heads.kv {
                one_head(step, kv, run, queries, run_out, &mut scratch);
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

/// The completions `slots` of one prompt, the query heads of one key/value head.
#[multiversion(targets("x86_64+avx2"))]
fn one_head(
    step: &SharedPrefix<'_>,
    kv: usize,
    slots: &[usize],
    queries: Rows<'_>,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let (heads, d, repeat) = (step.heads.n, step.heads.d, step.heads.n / step.heads.kv);
    let Prompts { places, lengths, .. } = step.prompts;
    let prompt = slots[0] / step.group_size;
    let length = lengths[prompt];
    let keys = &step.prompts.keys[(prompt * step.heads.kv + kv) * d * places..];
    let values = &step.prompts.values[(prompt * step.heads.kv + kv) * d * places..];
    let own_lengths = step.own.lengths;
    // Scores of a tile may run over the end.
    let room = length + slots.iter().map(|&slot| own_lengths[slot]).max().unwrap_or(0) + 2 * TILE;

    // The queries of all completions, scaled, in whole blocks.
    let n = slots.len() * repeat;
    let padded = n.next_multiple_of(QUERIES);
    let scale = 1.0 / (d as f32).sqrt();
    scratch.queries.clear();
    for row in 0..slots.len() {
        let of_head = &queries.row(row, heads * d)[kv * repeat * d..(kv + 1) * repeat * d];
        scratch.queries.extend(of_head.iter().map(|v| v * scale));
    }
    scratch.queries.resize(padded * d, 0.0);
    scratch.scores.resize(padded * room, 0.0);

    for (block, scores) in
        scratch.queries.chunks_exact(QUERIES * d).zip(scratch.scores.chunks_exact_mut(QUERIES * room))
    {
        scores_block::<QUERIES>(block, keys, places, length, d, scores, room);
    }
    for (row, &slot) in slots.iter().enumerate() {
        for r in row * repeat..(row + 1) * repeat {
            let scores = &mut scratch.scores[r * room..(r + 1) * room];
            let query = &scratch.queries[r * d..(r + 1) * d];
            for (at, block, n) in own_blocks(step, slot, kv) {
                let keys = &step.own.keys[block..];
                scores_block::<1>(query, keys, BLOCK, n, d, &mut scores[length + at..], 0);
            }
            softmax(&mut scores[..length + own_lengths[slot]]);
        }
    }

    out.chunks_exact_mut(heads * d).for_each(|row| row[kv * repeat * d..(kv + 1) * repeat * d].fill(0.0));
    let mut outputs = [[0.0_f32; TILE]; QUERIES];
    for first in (0..n).step_by(QUERIES) {
        let block = &scratch.scores[first * room..(first + QUERIES) * room];
        for tile in (0..d).step_by(TILE) {
            let width = TILE.min(d - tile);
            values_block::<QUERIES>(block, room, values, length, d, tile, &mut outputs);
            for (i, output) in outputs.iter().enumerate().take(n - first) {
                let (row, head) = ((first + i) / repeat, kv * repeat + (first + i) % repeat);
                let at = (row * heads + head) * d + tile;
                out[at..at + width].copy_from_slice(&output[..width]);
            }
        }
    }
    let mut output = [[0.0_f32; TILE]; 1];
    for (row, &slot) in slots.iter().enumerate() {
        for r in 0..repeat {
            let scores = &scratch.scores[(row * repeat + r) * room + length..];
            for (at, block, n) in own_blocks(step, slot, kv) {
                let values = &step.own.values[block..];
                for tile in (0..d).step_by(TILE) {
                    let width = TILE.min(d - tile);
                    values_block::<1>(&scores[at..], 0, values, n, d, tile, &mut output);
                    let to = (row * heads + kv * repeat + r) * d + tile;
                    for (o, v) in out[to..to + width].iter_mut().zip(&output[0]) {
                        *o += v;
                    }
                }
            }
        }
    }
}

/// The blocks of a completion: the first place of each, where it starts in memory, and its places in use.
#[inline(always)]
fn own_blocks(
    step: &SharedPrefix<'_>,
    slot: usize,
    kv: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let Heads { kv: kv_heads, d, .. } = step.heads;
    let (blocks, length) = (step.own.blocks, step.own.lengths[slot]);
    (0..length.div_ceil(BLOCK)).map(move |block| {
        let start = ((slot * blocks + block) * kv_heads + kv) * d * BLOCK;
        (block * BLOCK, start, BLOCK.min(length - block * BLOCK))
    })
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
