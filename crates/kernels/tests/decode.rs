//! Steps of whole decoders against the formulas in double precision, whatever the shapes, threads and company.

use proptest::prelude::*;
use reft_kernels::{Decode, Decoder, Heads, KvPlan, Layer, Linear, LowRank, Rows};

/// Numbers in -1..1 that differ by seed.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5) - 1.0).collect()
}

/// Shapes of a decoder.
#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: Heads,
    inner: usize,
    n_layers: usize,
    vocabulary: usize,
    qk_norm: bool,
    /// Biases of queries, keys and values, and low-rank updates of queries, values and of the way down.
    has_bias: bool,
    is_updated: bool,
}

const RANK: usize = 3;
const SCALE: f32 = 0.7;
const EPS: f32 = 1e-6;

impl Shape {
    fn width(&self) -> usize {
        self.heads.n * self.heads.d / 2
    }

    fn qkv(&self) -> usize {
        (self.heads.n + 2 * self.heads.kv) * self.heads.d
    }
}

/// Numbers of a decoder: one seed a matrix.
struct Weights {
    shape: Shape,
    embed_tokens: Vec<f32>,
    layers: Vec<LayerWeights>,
    norm: Vec<f32>,
}

struct LayerWeights {
    norms: [Vec<f32>; 2],
    head_norms: [Vec<f32>; 2],
    qkv: Vec<f32>,
    qkv_bias: Vec<f32>,
    /// A and B of queries, of values and of the way down.
    updates: [[Vec<f32>; 2]; 3],
    o: Vec<f32>,
    gate_up: Vec<f32>,
    down: Vec<f32>,
}

impl Weights {
    fn new(shape: Shape) -> Self {
        let Shape { heads: Heads { n, kv, d }, inner, .. } = shape;
        let (width, qkv) = (shape.width(), shape.qkv());
        let near_one = |n, seed| numbers(n, seed).into_iter().map(|x| 1.0 + x / 4.0).collect::<Vec<f32>>();
        // Outputs about as large as inputs.
        let matrix = |output: usize, input: usize, seed| -> Vec<f32> {
            numbers(output * input, seed).into_iter().map(|x| x / (input as f32).sqrt()).collect()
        };
        let update =
            |input: usize, output: usize, seed| [matrix(RANK, input, seed), matrix(output, RANK, seed + 1)];
        let layer = |l: usize| LayerWeights {
            norms: [near_one(width, 10 * l), near_one(width, 10 * l + 1)],
            head_norms: [near_one(d, 10 * l + 2), near_one(d, 10 * l + 3)],
            qkv: matrix(qkv, width, 10 * l + 4),
            qkv_bias: numbers(qkv, 10 * l + 5),
            updates: [
                update(width, n * d, 10 * l + 300),
                update(width, kv * d, 10 * l + 400),
                update(inner, width, 10 * l + 500),
            ],
            o: matrix(width, n * d, 10 * l + 6),
            gate_up: matrix(2 * inner, width, 10 * l + 7),
            down: matrix(width, inner, 10 * l + 8),
        };
        Self {
            shape,
            embed_tokens: numbers(shape.vocabulary * width, 900),
            layers: (0..shape.n_layers).map(layer).collect(),
            norm: near_one(width, 901),
        }
    }

    fn decoder(&self) -> Decoder<'_> {
        let Shape { heads: Heads { n, kv, d }, qk_norm, has_bias, is_updated, .. } = self.shape;
        let plain = |weight| Linear { weight, bias: None, updates: Vec::new() };
        let layers = self.layers.iter().map(|layer| {
            let low_rank = |first, i: usize| LowRank {
                first,
                a: &layer.updates[i][0],
                b: &layer.updates[i][1],
                rank: RANK,
                scale: SCALE,
            };
            Layer {
                input_layernorm: &layer.norms[0],
                qkv_proj: Linear {
                    weight: &layer.qkv,
                    bias: has_bias.then_some(&*layer.qkv_bias),
                    updates: if is_updated {
                        vec![low_rank(0, 0), low_rank((n + kv) * d, 1)]
                    } else {
                        Vec::new()
                    },
                },
                qk_norm: qk_norm.then(|| layer.head_norms.each_ref().map(Vec::as_slice)),
                o_proj: plain(&layer.o),
                post_attention_layernorm: &layer.norms[1],
                gate_up_proj: plain(&layer.gate_up),
                down_proj: Linear {
                    updates: if is_updated { vec![low_rank(0, 2)] } else { Vec::new() },
                    ..plain(&layer.down)
                },
            }
        });
        Decoder {
            heads: self.shape.heads,
            eps: EPS,
            embed_tokens: &self.embed_tokens,
            layers: layers.collect(),
            norm: &self.norm,
            lm_head: &self.embed_tokens,
            frequencies: (0..d / 2).map(|i| 0.5_f32.powi(i as i32)).collect(),
        }
    }
}

/// `y = W x`, rows of `W` as long as `x`.
fn times(weight: &[f32], x: &[f64]) -> Vec<f64> {
    weight.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

fn normed(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, w)| x / (mean + f64::from(EPS)).sqrt() * f64::from(*w)).collect()
}

/// A sequence: keys and values by layer, `[l, k * d]`.
#[derive(Clone)]
struct Sequence(Vec<[Vec<f64>; 2]>);

impl Weights {
    /// Logits behind one more token.
    fn step(&self, sequence: &mut Sequence, token: usize, position: usize) -> Vec<f64> {
        let Shape { heads: Heads { n, kv, d }, inner, qk_norm, has_bias, is_updated, .. } = self.shape;
        let width = self.shape.width();
        let add = |x: &mut [f64], y: &[f64]| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        let mut x: Vec<f64> = self.embed_tokens[token * width..][..width].iter().map(|&x| x.into()).collect();
        for (layer, [keys, values]) in self.layers.iter().zip(&mut sequence.0) {
            let update = |[a, b]: &[Vec<f32>; 2], x: &[f64]| -> Vec<f64> {
                times(b, &times(a, x))
                    .into_iter()
                    .map(|y| if is_updated { y * f64::from(SCALE) } else { 0.0 })
                    .collect()
            };
            let input = normed(&x, &layer.norms[0]);
            let mut qkv = times(&layer.qkv, &input);
            if has_bias {
                qkv.iter_mut().zip(&layer.qkv_bias).for_each(|(x, b)| *x += f64::from(*b));
            }
            add(&mut qkv, &update(&layer.updates[0], &input));
            add(&mut qkv[(n + kv) * d..], &update(&layer.updates[1], &input));
            for (head, x) in qkv.chunks_exact_mut(d).take(n + kv).enumerate() {
                if qk_norm {
                    x.copy_from_slice(&normed(x, &layer.head_norms[usize::from(head >= n)]));
                }
                for i in 0..d / 2 {
                    let (sin, cos) = (position as f64 * 0.5_f64.powi(i as i32)).sin_cos();
                    let (left, right) = (x[i], x[i + d / 2]);
                    (x[i], x[i + d / 2]) = (left * cos - right * sin, right * cos + left * sin);
                }
            }
            keys.extend(&qkv[n * d..(n + kv) * d]);
            values.extend(&qkv[(n + kv) * d..]);
            let mut attended = vec![0.0; n * d];
            for (head, out) in attended.chunks_exact_mut(d).enumerate() {
                let at = head / (n / kv) * d;
                let of_head = |x: &[f64]| -> Vec<Vec<f64>> {
                    x.chunks_exact(kv * d).map(|row| row[at..at + d].to_vec()).collect()
                };
                let dot = |key: &Vec<f64>| key.iter().zip(&qkv[head * d..]).map(|(k, q)| k * q).sum::<f64>();
                let weights: Vec<f64> =
                    of_head(keys).iter().map(|key| (dot(key) / (d as f64).sqrt()).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (weight, value) in weights.iter().zip(of_head(values)) {
                    out.iter_mut().zip(value).for_each(|(out, value)| *out += weight / total * value);
                }
            }
            add(&mut x, &times(&layer.o, &attended));
            let gate_up = times(&layer.gate_up, &normed(&x, &layer.norms[1]));
            let (gate, up) = gate_up.split_at(inner);
            let gated: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            add(&mut x, &times(&layer.down, &gated));
            add(&mut x, &update(&layer.updates[2], &gated));
        }
        times(&self.embed_tokens, &normed(&x, &self.norm))
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let heads = (1_usize..3, 1_usize..4, prop::sample::select(vec![4_usize, 8, 20, 32]))
        .prop_map(|(kv, repeat, d)| Heads { n: kv * repeat, kv, d });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (heads, 3_usize..40, 1_usize..3, 5_usize..40, flags).prop_map(
        |(heads, inner, n_layers, vocabulary, (qk_norm, has_bias, is_updated))| Shape {
            heads,
            inner,
            n_layers,
            vocabulary,
            qk_norm,
            has_bias,
            is_updated,
        },
    )
}

/// A prompt for each group, then steps of those completions that are live, as `live` says. Returns the logits of each
/// step by slot.
fn run(
    weights: &Weights,
    plan: KvPlan,
    prompts: &[usize],
    threads: usize,
    live: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<(usize, Vec<f32>)>> {
    let Shape { heads: Heads { kv, d, .. }, vocabulary, n_layers, .. } = weights.shape;
    let decoder = weights.decoder();
    Decode::with(&decoder, plan, threads, |decode| {
        for (group, &length) in prompts.iter().enumerate() {
            for layer in 0..n_layers {
                let [keys, values] = prompt(length, kv * d, group, layer);
                let rows = [&keys, &values].map(|numbers| Rows { numbers, stride: kv * d });
                decode.fill(layer, group, length, rows);
            }
        }
        let step = |step: usize| {
            let slots: Vec<usize> =
                (0..plan.groups * plan.group_size).filter(|&slot| live(step, slot)).collect();
            let token = |&slot: &usize| ((slot * 7 + step * 3) % vocabulary) as i64;
            let position = |&slot: &usize| (prompts[slot / plan.group_size] + step) as i64;
            let tokens: Vec<i64> = slots.iter().map(token).collect();
            let positions: Vec<i64> = slots.iter().map(position).collect();
            let mut logits = vec![f32::NAN; slots.len() * vocabulary];
            decode.step(&tokens, &positions, &slots, &mut logits);
            slots.into_iter().zip(logits.chunks_exact(vocabulary).map(<[f32]>::to_vec)).collect()
        };
        (0..plan.completion_tokens).map(step).collect()
    })
}

/// Keys and values of a prompt, `[length, width]`.
fn prompt(length: usize, width: usize, group: usize, layer: usize) -> [Vec<f32>; 2] {
    [0, 1].map(|part| numbers(length * width, 40 * group + 2 * layer + part))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_step_is_its_formula(
        shape in shapes(),
        prompts in prop::collection::vec(1_usize..20, 1..4),
        group_size in 1_usize..7,
        threads in 1_usize..4,
        ends in 1_usize..5,
    ) {
        let weights = Weights::new(shape);
        let plan = KvPlan { groups: prompts.len(), group_size, prompt_tokens: 20, completion_tokens: 4 };
        // Some completions end early, the first never.
        let live = |step: usize, slot: usize| slot == 0 || step < 1 + slot % ends;
        let got = run(&weights, plan, &prompts, threads, live);
        let width = shape.heads.kv * shape.heads.d;
        let of_prompt = |group: usize| {
            let wide = |numbers: Vec<f32>| numbers.into_iter().map(f64::from).collect();
            Sequence((0..shape.n_layers).map(|layer| prompt(prompts[group], width, group, layer).map(wide)).collect())
        };
        let mut sequences: Vec<Sequence> = (0..prompts.len() * group_size).map(|slot| of_prompt(slot / group_size)).collect();
        for (step, rows) in got.into_iter().enumerate() {
            for (slot, logits) in rows {
                let token = (slot * 7 + step * 3) % shape.vocabulary;
                let want = weights.step(&mut sequences[slot], token, prompts[slot / group_size] + step);
                let largest = want.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
                for (got, want) in logits.into_iter().zip(want) {
                    prop_assert!((f64::from(got) - want).abs() < 1e-4 * largest, "step {step} slot {slot}: {got} {want}");
                }
            }
        }
    }
}

/// A row has equal bits alone, in a crowd of more than one block of rows, and with other threads.
#[test]
fn a_row_depends_on_nothing_else() {
    let shape = Shape {
        heads: Heads { n: 4, kv: 2, d: 20 },
        inner: 50,
        n_layers: 2,
        vocabulary: 33,
        qk_norm: true,
        has_bias: true,
        is_updated: true,
    };
    let weights = Weights::new(shape);
    let plan = KvPlan { groups: 3, group_size: 30, prompt_tokens: 20, completion_tokens: 40 };
    let prompts = [5, 20, 11];
    let all = run(&weights, plan, &prompts, 1, |_, _| true);
    assert_eq!(all[0].len(), 90);
    assert_eq!(all, run(&weights, plan, &prompts, 3, |_, _| true));
    let few = [3, 40, 41, 89];
    for (all, few) in all.iter().zip(run(&weights, plan, &prompts, 2, |_, slot| few.contains(&slot))) {
        assert!(few.iter().all(|row| all.contains(row)));
    }
}
