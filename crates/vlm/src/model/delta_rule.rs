//! The gated delta rule (Yang et al. 2024, arXiv 2412.06464): a state of fixed size in place of keys and values.
//!
//! With `S` the state `[d_k, d_v]` of a head, `S_t = e^{g_t} S_{t-1} + k_t (b_t (v_t - k_t^T e^{g_t} S_{t-1}))^T` and
//! `o_t = S_t^T q_t / sqrt(d_k)`: the state decays, and what it already knows of the new value is taken off before it is
//! written. Queries and keys are divided by their length first, with an epsilon inside the root.
//!
//! Sequences lie side by side, shorter ones padded behind their end with tokens that neither decay nor write. State and rule
//! are fp32 whatever the weights are.
//!
//! Axes in tensor names: n sequence, h value head, c chunk, l token (of a sequence or a chunk), k and d width of keys and
//! values.

use reft_autograd::numbers_mut;
use reft_kernels::{DeltaTokens, delta_step};
use tch::{Kind, Tensor};

use super::inference::{is_for_kernels, kernel_threads, map};

/// Widest head of values that the kernel takes.
const WIDEST_FOR_KERNELS: i64 = 256;

/// Tokens of a chunk: the rule is linear in the length, with products of this size.
const CHUNK: i64 = 64;

/// Epsilon of the lengths of queries and keys.
const EPS: f64 = 1e-6;

/// What the rule reads of each token: `[n, l, h, ..]`, fp32.
pub(super) struct RuleInputs {
    /// `[n, l, h, k]`.
    pub(super) queries: Tensor,
    /// `[n, l, h, k]`.
    pub(super) keys: Tensor,
    /// `[n, l, h, d]`.
    pub(super) values: Tensor,
    /// `[n, l, h]` logarithm of what is left of the state, at most 0.
    pub(super) decay: Tensor,
    /// `[n, l, h]` how much of the correction is written, 0 to 1.
    pub(super) beta: Tensor,
}

/// Outputs `[n, l, h, d]` and the state `[n, h, k, d]` behind the last token, from the state before the first; none is zero.
///
/// A single token goes by the rule itself, several by chunks. What differs between the two is rounding.
pub(super) fn gated_delta_rule(inputs: &RuleInputs, state: Option<&Tensor>) -> (Tensor, Tensor) {
    let (size, d) = (inputs.keys.size(), inputs.values.size()[3]);
    let zeros = || Tensor::zeros([size[0], size[2], size[3], d], (Kind::Float, inputs.keys.device()));
    let state = state.map_or_else(zeros, Tensor::shallow_clone);
    let heads_first = |x: &Tensor| x.transpose(1, 2);
    let [queries, keys] = inputs.units().map(|x| heads_first(&x));
    let [values, decay, beta] = [&inputs.values, &inputs.decay, &inputs.beta].map(heads_first);
    let (out_nhld, state) = if size[1] == 1 {
        recurrent(&queries, &keys, &values, &decay, &beta, &state)
    } else {
        chunked(&queries, &keys, &values, &decay, &beta, &state)
    };
    (out_nhld.transpose(1, 2), state)
}

/// A token of each of some sequences, `[r, 1, ..]`, whose states `[m, h, k, d]` go on in place: outputs `[r, h, d]`, fp32.
/// `at` are the `sequences` as a tensor.
pub(super) fn step_in_place(
    inputs: &RuleInputs,
    states: &mut Tensor,
    sequences: &[usize],
    at: &Tensor,
) -> Tensor {
    let d = inputs.values.size()[3];
    if is_for_kernels(&inputs.values) && is_for_kernels(states) && d <= WIDEST_FOR_KERNELS {
        return kernel_step(inputs, states, sequences);
    }
    let (out_r1hd, next) = gated_delta_rule(inputs, Some(&states.index_select(0, at)));
    let _ = states.index_copy_(0, at, &next);
    out_r1hd.squeeze_dim(1)
}

#[expect(unsafe_code, reason = "the kernel writes to states in place")]
fn kernel_step(inputs: &RuleInputs, states: &mut Tensor, sequences: &[usize]) -> Tensor {
    let (size, d) = (inputs.keys.size(), inputs.values.size()[3]);
    let [queries, keys] = inputs.units();
    let shape = [size[0], size[2], d];
    // SAFETY: the states are borrowed mutably, and whoever keeps them hands out no other handle.
    let states = unsafe { numbers_mut(states) };
    let read = [&queries, &keys, &inputs.values, &inputs.decay, &inputs.beta].map(Tensor::contiguous);
    map(read.each_ref(), &shape, |[queries, keys, values, decay, beta], out| {
        let tokens = DeltaTokens {
            queries: queries.numbers,
            keys: keys.numbers,
            values: values.numbers,
            decay: decay.numbers,
            beta: beta.numbers,
        };
        let (heads, widths) = (size[2] as usize, [size[3] as usize, d as usize]);
        delta_step(tokens, states, sequences, heads, widths, out, kernel_threads());
    })
}

impl RuleInputs {
    /// Queries and keys of unit length, queries scaled.
    fn units(&self) -> [Tensor; 2] {
        let scale = 1.0 / (self.keys.size()[3] as f64).sqrt();
        [unit(&self.queries) * scale, unit(&self.keys)]
    }
}

fn unit(x: &Tensor) -> Tensor {
    x * (x.square().sum_dim_intlist(-1, true, None) + EPS).rsqrt()
}

/// One token of each sequence.
fn recurrent(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    decay: &Tensor,
    beta: &Tensor,
    state: &Tensor,
) -> (Tensor, Tensor) {
    let state = state * decay.exp().unsqueeze(-1);
    let known = keys.matmul(&state);
    let written = (values - known) * beta.unsqueeze(-1);
    let state = state + keys.transpose(2, 3).matmul(&written);
    (queries.matmul(&state), state)
}

/// Whole sequences: within a chunk the corrections solve a triangular system (UT transform; Yang et al. 2024, arXiv
/// 2406.06484, section 3), from chunk to chunk the state goes on.
fn chunked(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    decay: &Tensor,
    beta: &Tensor,
    state: &Tensor,
) -> (Tensor, Tensor) {
    let n_tokens = keys.size()[2];
    let chunk = CHUNK.min(n_tokens);
    let missing = (chunk - n_tokens % chunk) % chunk;
    let n_chunks = (n_tokens + missing) / chunk;
    // `[n, h, c, l, ..]`.
    let wide = |x: &Tensor| x.constant_pad_nd([0, 0, 0, missing]).unflatten(2, [n_chunks, chunk]);
    let narrow = |x: &Tensor| x.constant_pad_nd([0, missing]).unflatten(2, [n_chunks, chunk]);
    let (queries, keys, values) = (wide(queries), wide(keys), wide(values));
    let (beta, decayed) = (narrow(beta).unsqueeze(-1), narrow(decay).cumsum(3, None));

    // What is left at token i of what was written at token j, 0 where j is later.
    let later = Tensor::ones([chunk, chunk], (Kind::Bool, keys.device())).triu(1);
    let left = (decayed.unsqueeze(4) - decayed.unsqueeze(3)).masked_fill(&later, f64::NEG_INFINITY).exp();
    let keys_t = keys.transpose(3, 4);
    let system = (&keys * &beta).matmul(&keys_t) * &left;
    let own_scores = queries.matmul(&keys_t) * &left;
    let from_start = decayed.exp().unsqueeze(-1);
    let solve = |right: &Tensor| system.linalg_solve_triangular(right, false, true, true);
    let new_values = solve(&(&values * &beta));
    let known_keys = solve(&(&keys * &beta * &from_start));

    let end = decayed.narrow(3, chunk - 1, 1);
    let queries = queries * &from_start;
    let keys_to_end = (keys * (&end - &decayed).exp().unsqueeze(-1)).transpose(3, 4);
    let left_at_end = end.exp().unsqueeze(-1);
    let (mut state, mut outputs) = (state.shallow_clone(), Vec::with_capacity(n_chunks as usize));
    for c in 0..n_chunks {
        let written = new_values.select(2, c) - known_keys.select(2, c).matmul(&state);
        outputs.push(queries.select(2, c).matmul(&state) + own_scores.select(2, c).matmul(&written));
        state = state * left_at_end.select(2, c) + keys_to_end.select(2, c).matmul(&written);
    }
    (Tensor::cat(&outputs, 2).narrow(2, 0, n_tokens), state)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn inputs(n: i64, tokens: i64) -> RuleInputs {
        tch::manual_seed(3);
        let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
        RuleInputs {
            queries: random(&[n, tokens, 3, 8]),
            keys: random(&[n, tokens, 3, 8]),
            values: random(&[n, tokens, 3, 6]),
            decay: -random(&[n, tokens, 3]).abs() * 0.3,
            beta: random(&[n, tokens, 3]).sigmoid(),
        }
    }

    fn part(all: &RuleInputs, first: i64, n: i64) -> RuleInputs {
        let part = |x: &Tensor| x.narrow(1, first, n);
        RuleInputs {
            queries: part(&all.queries),
            keys: part(&all.keys),
            values: part(&all.values),
            decay: part(&all.decay),
            beta: part(&all.beta),
        }
    }

    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    /// Lengths around a chunk, from nothing and from a state.
    #[test]
    fn chunks_are_the_rule_token_by_token() {
        for tokens in [2, 63, 64, 65, 150] {
            let all = inputs(2, tokens);
            let (mut state, mut outputs) = (None, Vec::new());
            for t in 0..tokens {
                let (out, next) = gated_delta_rule(&part(&all, t, 1), state.as_ref());
                outputs.push(out);
                state = Some(next);
            }
            let (step_by_step, last) = (Tensor::cat(&outputs, 1), state.unwrap());
            let (out, state) = gated_delta_rule(&all, None);
            assert!(gap(&out, &step_by_step) < 1e-5 && gap(&state, &last) < 1e-5, "{tokens}");

            let first = tokens / 2;
            let (before, middle) = gated_delta_rule(&part(&all, 0, first), None);
            let (after, end) = gated_delta_rule(&part(&all, first, tokens - first), Some(&middle));
            let joined = Tensor::cat(&[before, after], 1);
            assert!(gap(&joined, &step_by_step) < 1e-5 && gap(&end, &last) < 1e-5, "{tokens} in two");
        }
    }

    /// A token without decay and weight leaves the state as it is, so padding behind the end is nothing.
    #[test]
    fn padding_leaves_the_state() {
        let all = inputs(1, 70);
        let silent =
            |x: &Tensor| x.index_fill(1, &Tensor::arange_start(50, 70, (Kind::Int64, Device::Cpu)), 0.0);
        let padded = RuleInputs { decay: silent(&all.decay), beta: silent(&all.beta), ..part(&all, 0, 70) };
        let (short, expected) = gated_delta_rule(&part(&all, 0, 50), None);
        let (long, state) = gated_delta_rule(&padded, None);
        assert!(gap(&state, &expected) < 1e-5 && gap(&long.narrow(1, 0, 50), &short) < 1e-5);
    }
}
