//! Attention, norms and gates against their formulas in double precision, whatever the shapes and threads.

use proptest::prelude::*;
use reft_kernels::{Keys, SharedPrefix, attend, rms_norm, rotate, silu_gate};

/// Numbers in -1..1 that differ by place.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5) - 1.0).collect()
}

proptest! {
    #[test]
    fn attention_is_its_formula(
        prompts in prop::collection::vec(1_usize..40, 1..4),
        per_prompt in 1_usize..6,
        (kv_heads, repeat) in (1_usize..3, 1_usize..4),
        d in prop::sample::select(vec![2_usize, 8, 16, 20, 32]),
        own_seed in 0_usize..1000,
        threads in 1_usize..4,
    ) {
        let heads = kv_heads * repeat;
        let owners: Vec<usize> = (0..prompts.len()).flat_map(|n| vec![n; per_prompt]).collect();
        let m = owners.len();
        let own: Vec<usize> = (0..m).map(|i| 1 + (i * 5 + own_seed) % 19).collect();
        let (places, own_places) = (40, 20);
        let keys = numbers(prompts.len() * kv_heads * d * places, 1);
        let values = numbers(prompts.len() * kv_heads * d * places, 2);
        let own_keys = numbers(m * kv_heads * d * own_places, 3);
        let own_values = numbers(m * kv_heads * d * own_places, 4);
        let stride = (heads + 2 * kv_heads) * d;
        let q = numbers(m * stride, 5);
        let step = SharedPrefix {
            prompts: Keys { keys: &keys, values: &values, places, lengths: &prompts },
            own: Keys { keys: &own_keys, values: &own_values, places: own_places, lengths: &own },
            owners: &owners, heads, kv_heads, d,
        };
        let mut out = vec![f32::NAN; m * heads * d];
        attend(&step, &q, stride, &mut out, threads);

        for row in 0..m {
            for head in 0..heads {
                let kv = head / repeat;
                let query = &q[row * stride + head * d..][..d];
                // (key, value) of a place in either half.
                let place = |half: &Keys<'_>, sequence: usize, l: usize| -> (Vec<f32>, Vec<f32>) {
                    let at = (sequence * kv_heads + kv) * d * half.places;
                    let key = (0..d).map(|i| half.keys[at + i * half.places + l]).collect();
                    (key, half.values[at + l * d..][..d].to_vec())
                };
                let all: Vec<(Vec<f32>, Vec<f32>)> = (0..prompts[owners[row]])
                    .map(|l| place(&step.prompts, owners[row], l))
                    .chain((0..own[row]).map(|l| place(&step.own, row, l)))
                    .collect();
                let dot = |key: &[f32]| -> f64 {
                    key.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / (d as f64).sqrt()
                };
                let weights: Vec<f64> = all.iter().map(|(key, _)| dot(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..d {
                    let want: f64 =
                        all.iter().zip(&weights).map(|((_, value), w)| w * f64::from(value[i])).sum::<f64>() / total;
                    let got = f64::from(out[(row * heads + head) * d + i]);
                    prop_assert!((got - want).abs() < 1e-5, "row {row} head {head}: {got} {want}");
                }
            }
        }
    }

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

        // Two heads of a token turn, the third stays.
        let mut tokens = numbers(rows * 3 * width, 3);
        let before = tokens.clone();
        let (cos, sin) = (numbers(rows * width, 4), numbers(rows * width, 5));
        rotate(&mut tokens, 3 * width, 2, &cos, &sin, width, threads);
        for (i, &got) in tokens.iter().enumerate() {
            let (row, head, at) = (i / (3 * width), i / width % 3, i % width);
            let swapped = before[i - at + (at + half) % width];
            let turned = before[i] * cos[row * width + at] + swapped * sin[row * width + at];
            let want = if head < 2 { turned } else { before[i] };
            prop_assert!((got - want).abs() < 1e-6);
        }
    }
}
