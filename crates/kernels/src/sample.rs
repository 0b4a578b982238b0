//! From a row of logits to a token and its log-probability.
//!
//! Order, that of `generate` in transformers: tokens that cannot be drawn out, repetition penalty, presence and frequency
//! penalty, temperature, the k most likely, the smallest set that reaches p, those near the most likely one, softmax.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::{
    lanes::{exp, max_of, sum_of},
    parallel::n_pieces,
};

/// How logits become a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shaping {
    /// Divides positive logits of tokens of prompt and completion, multiplies negative ones (Keskar et al. 2019, CTRL,
    /// section 4.1); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens of the completion, once each; 0 changes nothing.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens of the completion, as often as each stands there; 0 changes nothing.
    pub frequency_penalty: f32,
    /// Softmax temperature; 0 takes the most likely token and truncates nothing.
    pub temperature: f32,
    /// Most likely tokens to keep, ties with the last one too; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens that reaches this probability (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f32,
    /// Keep tokens of at least this share of the most likely one's probability (Nguyen et al. 2024, min-p); 0 keeps all.
    pub min_p: f32,
}

/// The model's own distribution.
impl Default for Shaping {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }
}

/// Where in a completion a token is drawn. Ids beyond the vocabulary are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions<'a> {
    /// In `[0, 1)`: where the cumulative distribution is inverted.
    pub uniform: f64,
    /// Tokens of the prompt.
    pub prompt: &'a [i64],
    /// Tokens of the completion so far.
    pub drawn: &'a [i64],
    /// Tokens that cannot be drawn here, beside those that never can.
    pub forbidden: &'a [i64],
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Its id.
    pub token: usize,
    /// Its natural log-probability under the distribution drawn from; under the untruncated one when greedy.
    pub logprob: f32,
}

/// Draws from the distribution that `shaping` makes of `logits + allowed`, by inverting the cumulative distribution in
/// the order of the vocabulary. `allowed` is -inf for tokens that are never drawn. `weights` is left with unnormalised
/// probabilities, 0 for tokens that could not be drawn. Returns a log-probability that is not finite where the logits
/// are not.
pub fn draw(
    logits: &[f32],
    allowed: &[f32],
    shaping: &Shaping,
    given: &Conditions<'_>,
    weights: &mut Vec<f32>,
) -> Draw {
    assert_eq!(logits.len(), allowed.len(), "one entry a token");
    weights.clear();
    weights.extend(logits.iter().zip(allowed).map(|(logit, allow)| logit + allow));
    penalise(weights, shaping, given);
    for &id in given.forbidden {
        if let Some(logit) = weights.get_mut(id as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    if weights.iter().any(|logit| logit.is_nan()) {
        return Draw { token: 0, logprob: f32::NAN };
    }
    if shaping.temperature <= 0.0 {
        let max = max_of(weights);
        let token = weights.iter().position(|&x| x == max).unwrap_or(0);
        return Draw { token, logprob: -weigh(weights, max).ln() };
    }
    temper(weights, shaping.temperature);
    if shaping.top_k > 0 && shaping.top_k < weights.len() {
        keep_top_k(weights, shaping.top_k);
    }
    if shaping.top_p < 1.0 {
        keep_top_p(weights, shaping.top_p);
    }
    if shaping.min_p > 0.0 {
        drop_below(weights, shaping.min_p.min(1.0).ln());
    }
    let total = weigh(weights, 0.0);
    // Strictly below the total after rounding, so that a token with probability always exceeds it.
    let threshold = given.uniform * (1.0 - f64::EPSILON) * weights.iter().map(|&w| f64::from(w)).sum::<f64>();
    let mut cumulative = 0.0;
    let exceeds = |&weight: &f32| {
        cumulative += f64::from(weight);
        cumulative > threshold
    };
    let token = weights.iter().position(exceeds).unwrap_or(0);
    Draw { token, logprob: (weights[token] / total).ln() }
}

/// [`draw`] for each row of `logits`, on at most `threads` threads. `of` makes the result from a draw and its weights.
pub fn draw_rows<T: Send>(
    logits: &[f32],
    allowed: &[f32],
    shaping: &Shaping,
    conditions: &[Conditions<'_>],
    threads: usize,
    of: impl Fn(Draw, &[f32]) -> T + Sync,
) -> Vec<T> {
    let width = allowed.len();
    assert_eq!(logits.len(), conditions.len() * width, "conditions for each row");
    let piece = |logits: &[f32], conditions: &[Conditions<'_>]| -> Vec<T> {
        let mut weights = Vec::with_capacity(width);
        let rows = logits.chunks_exact(width.max(1)).zip(conditions);
        rows.map(|(row, given)| {
            let draw = draw(row, allowed, shaping, given, &mut weights);
            of(draw, &weights)
        })
        .collect()
    };
    let pieces = n_pieces(threads, logits.len()).min(conditions.len());
    if pieces <= 1 {
        return piece(logits, conditions);
    }
    let rows = conditions.len().div_ceil(pieces);
    let parts: Vec<Vec<T>> = logits
        .par_chunks(rows * width)
        .zip(conditions.par_chunks(rows))
        .map(|(logits, conditions)| piece(logits, conditions))
        .collect();
    parts.into_iter().flatten().collect()
}

/// The penalties, all but the last once per token however often it stands there.
fn penalise(logits: &mut [f32], shaping: &Shaping, given: &Conditions<'_>) {
    let distinct = |tokens: &[&[i64]]| {
        let mut ids: Vec<usize> = tokens.concat().into_iter().map(|id| id as usize).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    if shaping.repetition_penalty != 1.0 {
        let penalty = shaping.repetition_penalty;
        for id in distinct(&[given.prompt, given.drawn]) {
            if let Some(logit) = logits.get_mut(id) {
                *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
            }
        }
    }
    if shaping.presence_penalty != 0.0 {
        for id in distinct(&[given.drawn]) {
            if let Some(logit) = logits.get_mut(id) {
                *logit -= shaping.presence_penalty;
            }
        }
    }
    if shaping.frequency_penalty != 0.0 {
        for &id in given.drawn {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit -= shaping.frequency_penalty;
            }
        }
    }
}

/// Logits below the largest, over the temperature. However small that is, the largest stays 0 and nothing overflows upwards.
#[multiversion(targets("x86_64+avx2"))]
fn temper(logits: &mut [f32], temperature: f32) {
    let max = max_of(logits);
    for logit in logits.iter_mut() {
        *logit = (*logit - max) / temperature;
    }
}

/// Logits to unnormalised probabilities, 0 where the logit is -inf; their sum.
#[multiversion(targets("x86_64+avx2"))]
fn weigh(x: &mut [f32], max: f32) -> f32 {
    for value in x.iter_mut() {
        *value = if *value == f32::NEG_INFINITY { 0.0 } else { exp(*value - max) };
    }
    sum_of(x, |w| w)
}

/// Leaves the k largest logits, and those that equal the k-th.
fn keep_top_k(x: &mut [f32], k: usize) {
    let mut sorted = x.to_vec();
    let (_, &mut kth, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    drop_below(x, kth);
}

fn drop_below(x: &mut [f32], least: f32) {
    for value in x.iter_mut().filter(|value| **value < least) {
        *value = f32::NEG_INFINITY;
    }
}

/// Leaves the most likely tokens, whose logit is 0, and further ones until their probabilities reach p.
fn keep_top_p(x: &mut [f32], p: f32) {
    let weight = |value: f32| f64::from(exp(value));
    let present =
        |least: f32| x.iter().copied().filter(move |&value| value > f32::NEG_INFINITY && value >= least);
    let limit = f64::from(p) * present(f32::NEG_INFINITY).map(weight).sum::<f64>();
    // Only so many tokens are sorted as are needed to reach p.
    let enough = |near: &f32| present(-near).map(weight).sum::<f64>() >= limit;
    let near = [2.0, 4.0, 8.0, 16.0].into_iter().find(enough).unwrap_or(f32::INFINITY);
    let mut order: Vec<usize> = (0..x.len()).filter(|&i| x[i] > f32::NEG_INFINITY && x[i] >= -near).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
    let mut before = 0.0;
    let kept = order.iter().take_while(|&&i| {
        let is_kept = before == 0.0 || before < limit;
        before += weight(x[i]);
        is_kept
    });
    let kept: Vec<(usize, f32)> = kept.map(|&i| (i, x[i])).collect();
    x.fill(f32::NEG_INFINITY);
    for (i, value) in kept {
        x[i] = value;
    }
}
