//! Attention of a decode step over a prompt that a group shares and each completion's own tokens.
//!
//! `softmax(q [K_prompt, K_own]^T / sqrt(d)) [V_prompt; V_own]` per completion and head, as the mean of two softmaxes
//! weighted by their sums of exponentials (shared-prefix attention; Juravsky et al. 2024, Hydragen, equation 3).
//!
//! Over the prompt, the queries of a group lie side by side: each number of a key or value is read once and meets all of
//! them. Over a completion's own tokens there are only the few queries of one completion: there neighbouring positions
//! (keys) or numbers of a head (values) lie side by side.
//!
//! Sizes: d width of a head, l positions in a prompt, lanes queries side by side.

use std::ops::Deref;

use pulp::{Simd, WithSimd};

use crate::{
    lanes::{exp, max_of, sum_of},
    product::{self, vectorize},
};

/// Positions of a block of a completion's own tokens.
const BLOCK: usize = 32;

/// Queries of a completion that share a read of its own keys and values.
const TOGETHER: usize = 2;

/// A key/value head of a prompt.
#[derive(Default)]
pub(crate) struct PromptHead {
    /// `[l, d]`.
    keys: Vec<f32>,
    /// `[d, l]`.
    values: Vec<f32>,
}

impl PromptHead {
    /// Room for a prompt of so many tokens.
    pub(crate) fn with_room(tokens: usize, d: usize) -> Self {
        Self { keys: Vec::with_capacity(tokens * d), values: Vec::with_capacity(tokens * d) }
    }

    /// Holds these rows of `d` numbers from now on.
    pub(crate) fn fill<'a>(&mut self, keys: impl Iterator<Item = &'a [f32]>, values: &[&[f32]], d: usize) {
        self.keys.clear();
        keys.for_each(|key| self.keys.extend_from_slice(key));
        self.values.clear();
        (0..d).for_each(|i| self.values.extend(values.iter().map(|value| value[i])));
    }
}

/// A key/value head of a completion's own tokens.
#[derive(Default)]
pub(crate) struct OwnHead {
    /// `[blocks, d, BLOCK]`.
    keys: Vec<f32>,
    /// `[blocks, BLOCK, d]`.
    values: Vec<f32>,
    length: usize,
}

impl OwnHead {
    /// Room for so many tokens.
    pub(crate) fn with_room(tokens: usize, d: usize) -> Self {
        let n = tokens.next_multiple_of(BLOCK) * d;
        Self { keys: Vec::with_capacity(n), values: Vec::with_capacity(n), length: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.length = 0;
    }

    /// Tokens.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// One more token.
    pub(crate) fn push<'a>(
        &mut self,
        key: impl ExactSizeIterator<Item = &'a f32>,
        value: impl Iterator<Item = &'a f32>,
    ) {
        let d = key.len();
        let (block, at) = (self.length / BLOCK, self.length % BLOCK);
        if at == 0 {
            self.keys.resize((block + 1) * d * BLOCK, 0.0);
            self.values.resize((block + 1) * d * BLOCK, 0.0);
        }
        let keys = self.keys[block * d * BLOCK + at..].iter_mut().step_by(BLOCK);
        keys.zip(key).for_each(|(to, key)| *to = *key);
        self.values[self.length * d..][..d].iter_mut().zip(value).for_each(|(to, value)| *to = *value);
        self.length += 1;
    }
}

/// Memory that heads use one after another.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[l, lanes]` scores of the queries over the prompt.
    scores: Vec<f32>,
    /// `[lanes]` the largest score of each, and the sum of `e^(score - max)`.
    max: Vec<f32>,
    sum: Vec<f32>,
    /// `[TOGETHER, d]` queries of a completion, and what they find among its own tokens.
    own_queries: Vec<f32>,
    own_out: Vec<f32>,
    own_scores: Vec<f32>,
}

/// Queries of a key/value head, of some completions of one group. Query `part * rows + row` is the `part`th of completion
/// `row`.
pub(crate) struct Queries<'a> {
    /// `[d, lanes]`, divided by `sqrt(d)`.
    pub(crate) turned: &'a [f32],
    pub(crate) lanes: usize,
    /// Completions.
    pub(crate) rows: usize,
    /// Queries of a completion.
    pub(crate) repeat: usize,
}

/// Attention of the queries to `out` `[d, lanes]`, each over the prompt and over the own tokens of its completion.
pub(crate) fn attend(
    queries: &Queries<'_>,
    prompt: &PromptHead,
    own: &[impl Deref<Target = OwnHead>],
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    assert_eq!(own.len(), queries.rows, "one head of own tokens a completion");
    vectorize(queries.lanes, Attend { queries, prompt, own, scratch, out });
}

struct Attend<'a, O> {
    queries: &'a Queries<'a>,
    prompt: &'a PromptHead,
    own: &'a [O],
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl<O: Deref<Target = OwnHead>> WithSimd for Attend<'_, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, prompt, own, scratch, out } = self;
        over_prompt(simd, queries, prompt, scratch, out);
        for (row, own) in own.iter().enumerate() {
            let mut part = 0;
            while part + TOGETHER <= queries.repeat {
                over_own::<S, TOGETHER>(simd, queries, own, [row, part], scratch, out);
                part += TOGETHER;
            }
            while part < queries.repeat {
                over_own::<S, 1>(simd, queries, own, [row, part], scratch, out);
                part += 1;
            }
        }
    }
}

/// The queries over their prompt: sums of values weighted by `e^(score - max)`.
#[inline(always)]
fn over_prompt<S: Simd>(
    simd: S,
    queries: &Queries<'_>,
    prompt: &PromptHead,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let &Queries { turned, lanes, .. } = queries;
    let d = turned.len() / lanes;
    let length = prompt.keys.len() / d;
    let Scratch { scores, max, sum, .. } = scratch;
    scores.resize(length * lanes, 0.0);
    product::rows(simd, turned, lanes, &prompt.keys, d, scores);

    max.clear();
    max.resize(lanes, f32::NEG_INFINITY);
    for scores in scores.chunks_exact(lanes) {
        for (max, &score) in max.iter_mut().zip(scores) {
            *max = if score > *max { score } else { *max };
        }
    }
    sum.clear();
    sum.resize(lanes, 0.0);
    for scores in scores.chunks_exact_mut(lanes) {
        for ((score, max), sum) in scores.iter_mut().zip(&*max).zip(&mut *sum) {
            *score = exp(*score - max);
            *sum += *score;
        }
    }
    product::rows(simd, scores, lanes, &prompt.values, length, out);
}

/// `Q` queries of one completion, from `part` on, over its own tokens; `out` becomes the mean of both.
#[inline(always)]
fn over_own<S: Simd, const Q: usize>(
    simd: S,
    queries: &Queries<'_>,
    own: &OwnHead,
    [row, part]: [usize; 2],
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let &Queries { turned, lanes, rows, .. } = queries;
    let d = turned.len() / lanes;
    let Scratch { max, sum, own_queries, own_out, own_scores, .. } = scratch;
    let lane = |q: usize| (part + q) * rows + row;
    own_queries.clear();
    for q in 0..Q {
        own_queries.extend(turned[lane(q)..].iter().step_by(lanes));
    }
    let room = own.length.next_multiple_of(BLOCK);
    own_scores.resize(Q * room, 0.0);
    for (block, keys) in own.keys.chunks_exact(d * BLOCK).enumerate() {
        let (keys, _) = S::as_simd_f32s(keys);
        let per_block = BLOCK / S::F32_LANES;
        for at in 0..(own.length - block * BLOCK).min(BLOCK).div_ceil(S::F32_LANES) {
            let mut sums = [simd.splat_f32s(0.0); Q];
            for (i, &key) in keys[at..].iter().step_by(per_block).enumerate() {
                for (q, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add_e_f32s(key, simd.splat_f32s(own_queries[q * d + i]), *sum);
                }
            }
            for (q, sum) in sums.into_iter().enumerate() {
                let scores = &mut own_scores[q * room + block * BLOCK + at * S::F32_LANES..][..S::F32_LANES];
                simd.partial_store_f32s(scores, sum);
            }
        }
    }
    let mut parts = [(0.0, 0.0); Q];
    for ((own_max, own_sum), scores) in parts.iter_mut().zip(own_scores.chunks_exact_mut(room)) {
        let scores = &mut scores[..own.length];
        *own_max = max_of(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - *own_max);
        }
        *own_sum = sum_of(scores, |p| p);
    }

    own_out.resize(Q * d, 0.0);
    for at in (0..d).step_by(S::F32_LANES) {
        let here = at..d.min(at + S::F32_LANES);
        let mut sums = [simd.splat_f32s(0.0); Q];
        for (at, value) in own.values.chunks_exact(d).take(own.length).enumerate() {
            let value = load(simd, &value[here.clone()]);
            for (q, sum) in sums.iter_mut().enumerate() {
                *sum = simd.mul_add_e_f32s(value, simd.splat_f32s(own_scores[q * room + at]), *sum);
            }
        }
        for (q, sum) in sums.into_iter().enumerate() {
            simd.partial_store_f32s(&mut own_out[q * d..][here.clone()], sum);
        }
    }
    for (q, (own_max, own_sum)) in parts.into_iter().enumerate() {
        let lane = lane(q);
        // Both parts relative to the larger of their maxima.
        let largest = max[lane].max(own_max);
        let (weight, own_weight) = (exp(max[lane] - largest), exp(own_max - largest));
        let total = sum[lane] * weight + own_sum * own_weight;
        let (weight, own_weight) = (weight / total, own_weight / total);
        for (out, own_out) in out[lane..].iter_mut().step_by(lanes).zip(&own_out[q * d..]) {
            *out = *out * weight + own_out * own_weight;
        }
    }
}

/// A vector of as many numbers as it has, or of fewer and zeros. Few are fetched by a call, so whole vectors are told apart.
#[inline(always)]
fn load<S: Simd>(simd: S, x: &[f32]) -> S::f32s {
    match S::as_simd_f32s(x) {
        (&[whole], []) => whole,
        _ => simd.partial_load_f32s(x),
    }
}
