//! Root mean square norm with its gradient.
//!
//! `y = x s w` with `s = (mean(x^2) + eps)^(-1/2)` (Zhang & Sennrich 2019). With `g = dL/dy`:
//! `dL/dx = s (g w) - x s^3 mean(g w x)` and `dL/dw = sum_rows g x s`.

use multiversion::multiversion;
use tch::Tensor;

use crate::{attach, filled, rows::blocks, slices::held};

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension of `x`; fp32 on the CPU.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    let (size, eps) = (x.size(), eps as f32);
    let (x_held, w_held) = (x.detach().contiguous(), weight.detach());
    let y = filled(&size, |y| {
        let threads = tch::get_num_threads().max(1) as usize;
        reft_kernels::rms_norm(held(&x_held), held(&w_held), eps, y, threads);
    });
    attach(&[x, weight], &[&y], move |grads| {
        let Some(Some(grad)) = grads.into_iter().next() else { return vec![None, None] };
        let grad = grad.contiguous();
        let (x, w, g) = (held(&x_held), held(&w_held), held(&grad));
        let mut weights = Vec::new();
        let grad_x = filled(&size, |grad_x| {
            weights = blocks(grad_x, w.len(), |first, rows| {
                let range = first * w.len()..first * w.len() + rows.len();
                back(&x[range.clone()], w, eps, &g[range], rows)
            });
        });
        let grad_w = filled(&w_held.size(), |grad_w| {
            grad_w.fill(0.0);
            for block in &weights {
                grad_w.iter_mut().zip(block).for_each(|(sum, part)| *sum += part);
            }
        });
        vec![Some(grad_x), Some(grad_w)]
    });
    y
}

/// The gradient of a block of rows, and their part of the weight's.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn back(x: &[f32], w: &[f32], eps: f32, g: &[f32], grad_x: &mut [f32]) -> Vec<f32> {
    let width = w.len();
    let mut grad_w = vec![0.0; width];
    for ((x, g), grad_x) in
        x.chunks_exact(width).zip(g.chunks_exact(width)).zip(grad_x.chunks_exact_mut(width))
    {
        let (mut squares, mut products) = ([0.0_f32; 16], [0.0_f32; 16]);
        let mut at = 0;
        while at + 16 <= width {
            for i in 0..16 {
                let (x, gw) = (x[at + i], g[at + i] * w[at + i]);
                squares[i] += x * x;
                products[i] += gw * x;
            }
            at += 16;
        }
        for i in at..width {
            squares[0] += x[i] * x[i];
            products[0] += g[i] * w[i] * x[i];
        }
        let n = width as f32;
        let scale = 1.0 / (squares.iter().sum::<f32>() / n + eps).sqrt();
        let along = products.iter().sum::<f32>() / n * scale * scale * scale;
        for i in 0..width {
            grad_x[i] = g[i] * w[i] * scale - x[i] * along;
            grad_w[i] += g[i] * x[i] * scale;
        }
    }
    grad_w
}
