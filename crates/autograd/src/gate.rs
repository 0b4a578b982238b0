//! The gate of an MLP with its gradient.
//!
//! `y = g s(g) u` with `s` the logistic function (Shazeer 2020). `dy/dg = u s (1 + g (1 - s))`, `dy/du = g s`.

use multiversion::multiversion;
use reft_kernels::exp;
use tch::Tensor;

use crate::{attach, filled, rows::blocks, slices::held};

/// `silu(gate) * up` of rows `[gate, up]`, `[t, 2 inner]` to `[t, inner]`; fp32 on the CPU.
pub fn silu_gate(gate_up: &Tensor) -> Tensor {
    let input = gate_up.detach().contiguous();
    let size = input.size();
    let inner = size[size.len() - 1] / 2;
    let out_size = [&size[..size.len() - 1], &[inner]].concat();
    let inner = inner as usize;
    let y = filled(&out_size, |y| {
        let threads = tch::get_num_threads().max(1) as usize;
        reft_kernels::silu_gate(held(&input), inner, y, threads);
    });
    attach(&[gate_up], &[&y], move |grads| {
        let Some(Some(grad)) = grads.into_iter().next() else { return vec![None] };
        let grad = grad.contiguous();
        let (x, g) = (held(&input), held(&grad));
        let grad_x = filled(&size, |grad_x| {
            blocks(grad_x, 2 * inner, |first, rows| {
                let first = first * inner;
                back(&x[2 * first..][..rows.len()], inner, &g[first..][..rows.len() / 2], rows);
            });
        });
        vec![Some(grad_x)]
    });
    y
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn back(gate_up: &[f32], inner: usize, grad: &[f32], grad_gate_up: &mut [f32]) {
    let rows = gate_up.chunks_exact(2 * inner).zip(grad.chunks_exact(inner));
    for ((x, grad), grad_x) in rows.zip(grad_gate_up.chunks_exact_mut(2 * inner)) {
        let ((gate, up), (grad_gate, grad_up)) = (x.split_at(inner), grad_x.split_at_mut(inner));
        for i in 0..inner {
            let (g, u, d) = (gate[i], up[i], grad[i]);
            let s = 1.0 / (1.0 + exp(-g));
            grad_gate[i] = d * u * s * (1.0 + g * (1.0 - s));
            grad_up[i] = d * g * s;
        }
    }
}
