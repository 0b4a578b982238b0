//! The gate of an MLP and rotary embedding.

use multiversion::multiversion;

use crate::{lanes::exp, parallel::for_rows};

/// `silu(gate) * up` of rows `[gate, up]` of `2 inner` numbers, to rows of `inner` (Shazeer 2020).
pub fn silu_gate(gate_up: &[f32], inner: usize, out: &mut [f32], threads: usize) {
    assert!(gate_up.len() == 2 * out.len() && inner > 0, "gate and up lie side by side");
    for_rows(out, inner, 4 * gate_up.len(), threads, |i, row| {
        let (gate, up) = gate_up[2 * i * inner..2 * (i + 1) * inner].split_at(inner);
        gate_row(gate, up, row);
    });
}

#[multiversion(targets("x86_64+avx2"))]
fn gate_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *o = g / (1.0 + exp(-g)) * u;
    }
}

/// Turns the first `heads` heads of each token in place; tokens lie `stride` numbers apart. `cos` and `sin` hold `d`
/// numbers per token, the left half of `sin` negative (Su et al. 2021, half-split layout).
pub fn rotate(
    x: &mut [f32],
    stride: usize,
    heads: usize,
    cos: &[f32],
    sin: &[f32],
    d: usize,
    threads: usize,
) {
    assert!(
        heads * d <= stride && cos.len() == sin.len() && d.is_multiple_of(2),
        "heads of a token lie together"
    );
    assert_eq!(x.len() / stride, cos.len() / d, "one angle a token");
    let work = x.len();
    for_rows(x, stride, work, threads, |i, token| {
        let (cos, sin) = (&cos[i * d..(i + 1) * d], &sin[i * d..(i + 1) * d]);
        for head in token[..heads * d].chunks_exact_mut(d) {
            turn_head(head, cos, sin);
        }
    });
}

#[multiversion(targets("x86_64+avx2"))]
fn turn_head(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = head.len() / 2;
    let (left, right) = head.split_at_mut(half);
    let ((cos_left, cos_right), (sin_left, sin_right)) = (cos.split_at(half), sin.split_at(half));
    for i in 0..half {
        let (l, r) = (left[i], right[i]);
        left[i] = l * cos_left[i] + r * sin_left[i];
        right[i] = r * cos_right[i] + l * sin_right[i];
    }
}
