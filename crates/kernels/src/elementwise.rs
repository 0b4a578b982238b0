//! The gate of an MLP and rotary embedding.

use multiversion::multiversion;

use crate::{Rows, lanes::exp, parallel::for_rows};

/// `silu(gate) * up` of rows `[gate, up]` of `2 inner` numbers, to rows of `inner` (Shazeer 2020).
pub fn silu_gate(gate_up: &[f32], inner: usize, out: &mut [f32], threads: usize) {
    assert!(gate_up.len() == 2 * out.len() && inner > 0, "gate and up lie side by side");
    for_rows(out, inner, 4 * gate_up.len(), threads, |i, row| {
        let (gate, up) = gate_up[2 * i * inner..2 * (i + 1) * inner].split_at(inner);
        gate_row(gate, up, row);
    });
}

#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn gate_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *o = g / (1.0 + exp(-g)) * u;
    }
}

/// Turns the first `heads` heads of each token, to `out` `[t, heads * d]`. `cos` and `sin` hold `d` numbers per token,
/// the left half of `sin` negative (Su et al. 2021, half-split layout).
pub fn rotate(
    x: Rows<'_>,
    heads: usize,
    cos: &[f32],
    sin: &[f32],
    d: usize,
    out: &mut [f32],
    threads: usize,
) {
    let width = heads * d;
    assert!(
        width <= x.stride && cos.len() == sin.len() && d.is_multiple_of(2),
        "heads of a token lie together"
    );
    assert_eq!(out.len() / width, cos.len() / d, "one angle a token");
    let work = 2 * out.len();
    for_rows(out, width, work, threads, |i, out| {
        turn(x.row(i, width), &cos[i * d..(i + 1) * d], &sin[i * d..(i + 1) * d], out);
    });
}

#[multiversion(targets("x86_64+avx2"))]
fn turn(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let (d, half) = (cos.len(), cos.len() / 2);
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        for i in 0..half {
            out[i] = x[i] * cos[i] + x[half + i] * sin[i];
            out[half + i] = x[half + i] * cos[half + i] + x[i] * sin[half + i];
        }
    }
}
