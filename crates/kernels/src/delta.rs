//! A token of the gated delta rule (Yang et al. 2024, arXiv 2412.06464), each state read and written twice.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::{lanes::exp, parallel::n_pieces};

/// What a token of each sequence brings: `[r, h, ..]`, queries and keys of unit length, queries scaled.
#[derive(Clone, Copy)]
pub struct DeltaTokens<'a> {
    /// `[r, h, k]`.
    pub queries: &'a [f32],
    /// `[r, h, k]`.
    pub keys: &'a [f32],
    /// `[r, h, d]`.
    pub values: &'a [f32],
    /// `[r, h]` logarithm of what is left of the state.
    pub decay: &'a [f32],
    /// `[r, h]` how much of the correction is written.
    pub beta: &'a [f32],
}

/// Brings the states `[m, h, k, d]` of some sequences on by a token each, and gives its outputs `[r, h, d]`. `sequences` are
/// `r` of the `m`, ascending.
pub fn delta_step(
    tokens: DeltaTokens<'_>,
    states: &mut [f32],
    sequences: &[usize],
    heads: usize,
    [k, d]: [usize; 2],
    out: &mut [f32],
    threads: usize,
) {
    let rows = sequences.len() * heads;
    assert!(
        tokens.queries.len() == rows * k && tokens.keys.len() == rows * k && tokens.values.len() == rows * d,
        "a query, a key and a value for each head"
    );
    assert!(
        tokens.decay.len() == rows && tokens.beta.len() == rows && out.len() == rows * d,
        "two numbers and an output for each head"
    );
    assert!(sequences.is_sorted_by(|a, b| a < b), "each state goes on once");
    let mut taken = sequences.iter().peekable();
    let mut of_heads: Vec<(&mut [f32], &mut [f32])> = Vec::with_capacity(rows);
    let mut outputs = out.chunks_exact_mut(d);
    for (sequence, state) in states.chunks_exact_mut(heads * k * d).enumerate() {
        if taken.next_if_eq(&&sequence).is_some() {
            of_heads.extend(state.chunks_exact_mut(k * d).zip(outputs.by_ref()));
        }
    }
    assert_eq!(of_heads.len(), rows, "a state for each sequence");
    let step = |(row, (state, out)): (usize, &mut (&mut [f32], &mut [f32]))| {
        let keys = &tokens.keys[row * k..(row + 1) * k];
        let queries = &tokens.queries[row * k..(row + 1) * k];
        let values = &tokens.values[row * d..(row + 1) * d];
        head_step(queries, keys, values, exp(tokens.decay[row]), tokens.beta[row], state, out);
    };
    let pieces = n_pieces(threads, 4 * rows * k * d).min(rows.max(1));
    if pieces <= 1 {
        of_heads.iter_mut().enumerate().for_each(step);
        return;
    }
    let per_piece = rows.div_ceil(pieces);
    of_heads.par_chunks_mut(per_piece).enumerate().for_each(|(piece, heads)| {
        heads.iter_mut().enumerate().for_each(|(i, head)| step((piece * per_piece + i, head)));
    });
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+avx2"))]
fn head_step(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    left: f32,
    beta: f32,
    state: &mut [f32],
    out: &mut [f32],
) {
    let d = values.len();
    // What the decayed state knows of the value; `out` holds it until it is the output.
    out.fill(0.0);
    for (row, &key) in state.chunks_exact_mut(d).zip(keys) {
        for (s, o) in row.iter_mut().zip(out.iter_mut()) {
            *s *= left;
            *o += key * *s;
        }
    }
    let mut written = [0.0_f32; 256];
    let written = &mut written[..d];
    for ((w, &v), o) in written.iter_mut().zip(values).zip(out.iter_mut()) {
        *w = (v - *o) * beta;
        *o = 0.0;
    }
    for ((row, &key), &query) in state.chunks_exact_mut(d).zip(keys).zip(queries) {
        for ((s, &w), o) in row.iter_mut().zip(written.iter()).zip(out.iter_mut()) {
            *s += key * w;
            *o += query * *s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One head of two keys and one value: `S = (1, 2)` is halved, knows 0.5 of the key `(1, 0)`, and is corrected by half.
    #[test]
    fn a_token_by_hand() {
        let tokens = DeltaTokens {
            queries: &[1.0, 1.0],
            keys: &[1.0, 0.0],
            values: &[2.5],
            decay: &[0.5_f32.ln()],
            beta: &[0.5],
        };
        // The first sequence takes no part.
        let mut states = [7.0, 7.0, 1.0, 2.0];
        let mut out = [0.0];
        delta_step(tokens, &mut states, &[1], 1, [2, 1], &mut out, 1);
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert_eq!(states[..2], [7.0, 7.0]);
        assert!(
            near(states[2], 0.5 + 1.0) && near(states[3], 1.0) && near(out[0], 2.5),
            "{states:?} {out:?}"
        );
    }

    /// However many threads.
    #[test]
    fn threads_change_nothing() {
        let (m, h, k, d) = (6, 8, 32, 40);
        let numbers = |n: usize, by: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * by).sin()).collect() };
        let sequences = [0, 2, 3, 5];
        let rows = sequences.len() * h;
        let (queries, keys, values) =
            (numbers(rows * k, 0.3), numbers(rows * k, 0.7), numbers(rows * d, 1.1));
        let decay: Vec<f32> = numbers(rows, 0.9).iter().map(|x| -x.abs()).collect();
        let beta: Vec<f32> = numbers(rows, 1.7).iter().map(|x| x.abs()).collect();
        let tokens =
            DeltaTokens { queries: &queries, keys: &keys, values: &values, decay: &decay, beta: &beta };
        let run = |threads: usize| {
            let mut states = numbers(m * h * k * d, 0.01);
            let mut out = vec![0.0; rows * d];
            delta_step(tokens, &mut states, &sequences, h, [k, d], &mut out, threads);
            (states, out)
        };
        assert!(run(1) == run(4));
    }
}
