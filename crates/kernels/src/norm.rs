//! Root mean square norm.

use multiversion::multiversion;

use crate::{lanes::sum_of, parallel::for_rows};

/// `x / sqrt(mean(x^2) + eps) * weight` of each row of `x` (Zhang & Sennrich 2019); rows as long as `weight`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32], threads: usize) {
    let width = weight.len();
    assert!(
        x.len() == out.len() && width > 0 && x.len().is_multiple_of(width),
        "rows of x and out are as long as weight"
    );
    for_rows(out, width, x.len(), threads, |i, row| {
        norm_row(&x[i * width..(i + 1) * width], weight, eps, row);
    });
}

#[multiversion(targets("x86_64+avx2"))]
fn norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum_of(x, |v| v * v) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((o, &v), &w) in out.iter_mut().zip(x).zip(weight) {
        *o = v * scale * w;
    }
}
