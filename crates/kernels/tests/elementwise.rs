//! Norms, gates and turns against their formulas in double precision, whatever the shapes and threads.

use proptest::prelude::*;
use reft_kernels::{Rows, rms_norm, rotate, silu_gate};

/// Numbers in -1..1 that differ by seed.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5) - 1.0).collect()
}

proptest! {
    #[test]
    fn norms_gates_and_turns_are_their_formulas(rows in 1_usize..5, half in 1_usize..20, threads in 1_usize..4) {
        let width = 2 * half;
        let (x, weight) = (numbers(rows * width, 1), numbers(width, 2));
        let mut out = vec![0.0; x.len()];
        rms_norm(&x, &weight, 1e-6, &mut out, threads);
        for (i, &got) in out.iter().enumerate() {
            let row = &x[i / width * width..][..width];
            let mean = row.iter().map(|v| f64::from(v * v)).sum::<f64>() / width as f64;
            let want = f64::from(x[i]) / (mean + 1e-6).sqrt() * f64::from(weight[i % width]);
            prop_assert!((f64::from(got) - want).abs() < 1e-5);
        }

        let mut gated = vec![0.0; rows * half];
        silu_gate(&x, half, &mut gated, threads);
        for (i, &got) in gated.iter().enumerate() {
            let (g, u) = (f64::from(x[i / half * width + i % half]), f64::from(x[i / half * width + half + i % half]));
            prop_assert!((f64::from(got) - g / (1.0 + (-g).exp()) * u).abs() < 1e-6);
        }

        // Two heads of a token turn, the third is left out.
        let tokens = numbers(rows * 3 * width, 3);
        let (cos, sin) = (numbers(rows * width, 4), numbers(rows * width, 5));
        let mut turned = vec![0.0; rows * 2 * width];
        rotate(Rows { numbers: &tokens, stride: 3 * width }, 2, &cos, &sin, width, &mut turned, threads);
        for (i, &got) in turned.iter().enumerate() {
            let (row, head, at) = (i / (2 * width), i / width % 2, i % width);
            let token = &tokens[(row * 3 + head) * width..][..width];
            let want = token[at] * cos[row * width + at] + token[(at + half) % width] * sin[row * width + at];
            prop_assert!((got - want).abs() < 1e-6);
        }
    }
}
