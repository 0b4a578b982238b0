//! From a row of logits to a token and its log-probability.

use multiversion::multiversion;

use crate::lanes::{exp, max_of, sum_of};

/// What is left of the distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truncation {
    /// Softmax temperature; 0 takes the most likely token.
    pub temperature: f32,
    /// Most likely tokens to keep, ties with the last one too; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens that reaches this probability; 1 keeps all.
    pub top_p: f32,
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Its id.
    pub token: usize,
    /// Its natural log-probability under the distribution drawn from; under the whole one when greedy.
    pub logprob: f32,
}

/// Draws from `softmax((logits + allowed) / temperature)`, truncated, by inverting the cumulative distribution in the
/// order of the vocabulary at `uniform` in `[0, 1)`. `allowed` is -inf for tokens that are never drawn. Returns a
/// log-probability that is not finite where the logits are not.
pub fn draw(
    logits: &[f32],
    allowed: &[f32],
    truncation: &Truncation,
    uniform: f64,
    scratch: &mut Vec<f32>,
) -> Draw {
    assert_eq!(logits.len(), allowed.len(), "one entry a token");
    let greedy = truncation.temperature <= 0.0;
    let inverse = if greedy { 1.0 } else { 1.0 / truncation.temperature };
    scratch.resize(logits.len(), 0.0);
    let max = temper(logits, allowed, inverse, scratch);
    if greedy {
        let token = scratch.iter().position(|&x| x == max).unwrap_or(0);
        return Draw { token, logprob: -weigh(scratch, max).ln() };
    }
    if truncation.top_k > 0 && truncation.top_k < scratch.len() {
        keep_top_k(scratch, truncation.top_k);
    }
    if truncation.top_p < 1.0 {
        keep_top_p(scratch, max, truncation.top_p);
    }
    let total = weigh(scratch, max);
    // Strictly below the total after rounding, so that a token with probability always exceeds it.
    let threshold = uniform * (1.0 - f64::EPSILON) * scratch.iter().map(|&w| f64::from(w)).sum::<f64>();
    let mut cumulative = 0.0;
    let exceeds = |&weight: &f32| {
        cumulative += f64::from(weight);
        cumulative > threshold
    };
    let token = scratch.iter().position(exceeds).unwrap_or(0);
    Draw { token, logprob: (scratch[token] / total).ln() }
}

/// `(logits + allowed) * inverse`, and the largest of them.
#[multiversion(targets("x86_64+avx2"))]
fn temper(logits: &[f32], allowed: &[f32], inverse: f32, out: &mut [f32]) -> f32 {
    for ((o, &logit), &allow) in out.iter_mut().zip(logits).zip(allowed) {
        *o = (logit + allow) * inverse;
    }
    max_of(out)
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
    for value in x.iter_mut().filter(|value| **value < kth) {
        *value = f32::NEG_INFINITY;
    }
}

/// Leaves the most likely tokens until their probabilities reach p; always at least one.
fn keep_top_p(x: &mut [f32], max: f32, p: f32) {
    let mut order: Vec<usize> = (0..x.len()).filter(|&i| x[i] > f32::NEG_INFINITY).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
    let weights: Vec<f64> = order.iter().map(|&i| f64::from(exp(x[i] - max))).collect();
    let limit = f64::from(p) * weights.iter().sum::<f64>();
    let mut before = 0.0;
    for (rank, (&i, weight)) in order.iter().zip(weights).enumerate() {
        if rank > 0 && before >= limit {
            x[i] = f32::NEG_INFINITY;
        }
        before += weight;
    }
}
