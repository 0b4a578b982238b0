//! Attention, products, norms and gates against their formulas in double precision, whatever the shapes and threads.

use proptest::prelude::*;
use reft_kernels::{
    BLOCK, Heads, Own, Prompts, Rows, SharedPrefix, append, attend, fill, product, rms_norm, rotate,
    silu_gate,
};

/// Numbers in -1..1 that differ by place.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5) - 1.0).collect()
}

/// `softmax(q k^T / sqrt(d)) v` of one query.
fn attention(query: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Vec<f64> {
    let dot = |key: &[f32]| key.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let weights: Vec<f64> = keys.iter().map(|key| (dot(key) / (query.len() as f64).sqrt()).exp()).collect();
    let total: f64 = weights.iter().sum();
    let sum = |i: usize| values.iter().zip(&weights).map(|(value, w)| w * f64::from(value[i])).sum::<f64>();
    (0..query.len()).map(|i| sum(i) / total).collect()
}

proptest! {
    #[test]
    fn attention_is_its_formula(
        prompts in prop::collection::vec(1_usize..40, 1..4),
        group_size in 1_usize..6,
        (kv, repeat) in (1_usize..3, 1_usize..4),
        d in prop::sample::select(vec![2_usize, 8, 16, 20, 32]),
        own_seed in 0_usize..1000,
        threads in 1_usize..4,
    ) {
        let heads = Heads { n: kv * repeat, kv, d };
        let slots_in_all = prompts.len() * group_size;
        let (places, blocks, width) = (40, 3, kv * d);
        let own: Vec<usize> = (0..slots_in_all).map(|i| 1 + (i * 29 + own_seed) % (blocks * BLOCK)).collect();
        // Some completions have ended.
        let slots: Vec<usize> = (0..slots_in_all).filter(|i| i == &0 || (i + own_seed) % 4 > 0).collect();

        // The rows of each sequence, as the model gives them.
        let of_prompts: Vec<[Vec<f32>; 2]> =
            prompts.iter().enumerate().map(|(n, &l)| [numbers(l * width, n), numbers(l * width, 50 + n)]).collect();
        let of_own: Vec<[Vec<f32>; 2]> =
            own.iter().enumerate().map(|(m, &l)| [numbers(l * width, 100 + m), numbers(l * width, 200 + m)]).collect();

        let mut prompt_buffers = [0, 1].map(|_| vec![f32::NAN; prompts.len() * width * places]);
        let mut own_buffers = [0, 1].map(|_| vec![f32::NAN; slots_in_all * blocks * width * BLOCK]);
        for (n, &length) in prompts.iter().enumerate() {
            let buffers = prompt_buffers.each_mut().map(|b| &mut b[n * width * places..(n + 1) * width * places]);
            let rows = of_prompts[n].each_ref().map(|numbers| Rows { numbers, stride: width });
            fill(buffers, places, heads, length, rows);
        }
        for place in 0..blocks * BLOCK {
            let growing: Vec<usize> = (0..slots_in_all).filter(|&m| place < own[m]).collect();
            let rows = [0, 1].map(|part: usize| -> Vec<f32> {
                growing.iter().flat_map(|&m| of_own[m][part][place * width..][..width].to_vec()).collect()
            });
            let rows = rows.each_ref().map(|numbers| Rows { numbers, stride: width });
            let lengths = vec![place + 1; slots_in_all];
            append(own_buffers.each_mut().map(Vec::as_mut_slice), blocks, heads, &growing, &lengths, rows);
        }

        let stride = (heads.n + 2 * kv) * d;
        let q = numbers(slots.len() * stride, 5);
        let [keys, values] = &prompt_buffers;
        let [own_keys, own_values] = &own_buffers;
        let step = SharedPrefix {
            prompts: Prompts { keys, values, places, lengths: &prompts },
            own: Own { keys: own_keys, values: own_values, blocks, lengths: &own },
            group_size, slots: &slots, heads,
        };
        let mut out = vec![f32::NAN; slots.len() * heads.n * d];
        attend(&step, Rows { numbers: &q, stride }, &mut out, threads);

        for (row, &slot) in slots.iter().enumerate() {
            for head in 0..heads.n {
                let at = head / repeat * d;
                let all = |part: usize| -> Vec<&[f32]> {
                    let both = [&of_prompts[slot / group_size][part], &of_own[slot][part]];
                    both.into_iter().flat_map(|rows| rows.chunks_exact(width)).map(|row| &row[at..at + d]).collect()
                };
                let want = attention(&q[row * stride + head * d..][..d], &all(0), &all(1));
                for (i, want) in want.into_iter().enumerate() {
                    let got = f64::from(out[(row * heads.n + head) * d + i]);
                    prop_assert!((got - want).abs() < 1e-5, "slot {slot} head {head}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn products_are_their_formula(
        (m, input, output) in (1_usize..40, 1_usize..70, 1_usize..40),
        has_bias in any::<bool>(),
        threads in 1_usize..4,
    ) {
        let (x, weight, bias) = (numbers(m * input, 1), numbers(output * input, 2), numbers(output, 3));
        let mut out = vec![f32::NAN; m * output];
        product(&x, &weight, has_bias.then_some(bias.as_slice()), input, &mut out, threads);
        for (i, &got) in out.iter().enumerate() {
            let (row, o) = (i / output, i % output);
            let terms = x[row * input..][..input].iter().zip(&weight[o * input..][..input]);
            let want = terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
                + if has_bias { f64::from(bias[o]) } else { 0.0 };
            prop_assert!((f64::from(got) - want).abs() < 1e-5, "{row} {o}: {got} {want}");
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
