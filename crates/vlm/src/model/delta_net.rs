//! Gated delta net, the layer of Qwen3.5 that three of four decoder layers have instead of attention: a short causal
//! convolution, the gated delta rule, and a gated norm.
//!
//! What it remembers of a sequence is a [`DeltaState`], whatever its length. Which tokens are whose is the business of a
//! [`TokenPlan`](super::TokenPlan).
//!
//! Axes in tensor names: t packed token, n sequence, l token of a sequence, c channel of the convolution, h value head, k and
//! d width of keys and values.

use tch::{Kind, Tensor};

use super::{
    LinearAttention,
    delta_rule::{RuleInputs, gated_delta_rule, step_in_place},
    layers::{Bias, Linear},
    params::ParamSource,
};

/// What the layer remembers of sequences.
#[derive(Debug)]
pub struct DeltaState {
    /// `[n, width - 1, c]` the last inputs of the convolution.
    pub conv: Tensor,
    /// `[n, h, k, d]` fp32.
    pub recurrent: Tensor,
}

impl DeltaState {
    /// Those of some sequences, in this order; one may come several times.
    #[must_use]
    pub fn select(&self, sequences: &Tensor) -> Self {
        Self {
            conv: self.conv.index_select(0, sequences),
            recurrent: self.recurrent.index_select(0, sequences),
        }
    }
}

/// What the layer reads of tokens before it looks at their sequences.
pub struct DeltaInputs {
    /// `[t, c]` queries, keys and values before the convolution.
    pub mixed: Tensor,
    /// `[t, h]` logarithm of the decay, fp32.
    pub decay: Tensor,
    /// `[t, h]` strength of the correction, fp32.
    pub beta: Tensor,
}

impl DeltaInputs {
    /// Every tensor changed in the same way; tokens of padding have to be zero in all.
    #[must_use]
    pub fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        Self { mixed: change(&self.mixed), decay: change(&self.decay), beta: change(&self.beta) }
    }
}

/// The part of the layer that goes from token to token.
pub struct DeltaMemory {
    /// `[c, 1, width]`.
    conv: Tensor,
    shape: LinearAttention,
}

impl DeltaMemory {
    /// Outputs `[n, l, h, d]` of sequences `[n, l, ..]` of these lengths, and what is remembered behind their ends. Tokens
    /// behind the end of a sequence are zero.
    pub fn run(
        &self,
        inputs: &DeltaInputs,
        lengths: &Tensor,
        state: Option<&DeltaState>,
    ) -> (Tensor, DeltaState) {
        let size = inputs.mixed.size();
        let (n, c) = (size[0], size[2]);
        let reach = self.shape.conv_kernel - 1;
        let before = match state {
            Some(state) => state.conv.shallow_clone(),
            None => Tensor::zeros([n, reach, c], (inputs.mixed.kind(), inputs.mixed.device())),
        };
        let with_before = Tensor::cat(&[before, inputs.mixed.shallow_clone()], 1);
        // The last inputs before the end of each sequence.
        let last = lengths.unsqueeze(1) + Tensor::arange(reach, (Kind::Int64, lengths.device()));
        let conv = with_before.gather(1, &last.unsqueeze(2).expand([n, reach, c], false), false);
        let none: Option<Tensor> = None;
        let mixed = with_before.transpose(1, 2).conv1d(&self.conv, none, 1, 0, 1, c).silu().transpose(1, 2);

        let rule = self.rule_inputs(&mixed, inputs);
        let (out_nlhd, recurrent) = gated_delta_rule(&rule, state.map(|state| &state.recurrent));
        (out_nlhd.to_kind(mixed.kind()), DeltaState { conv, recurrent })
    }

    /// One more token of each of some sequences, `[r, ..]`: outputs `[r, h, d]`. Their states go on in place. `sequences` are
    /// ascending.
    pub fn step(&self, inputs: &DeltaInputs, states: &mut DeltaState, sequences: &[usize]) -> Tensor {
        let at: Vec<i64> = sequences.iter().map(|&sequence| sequence as i64).collect();
        let at = Tensor::from_slice(&at).to_device(inputs.mixed.device());
        let reach = self.shape.conv_kernel - 1;
        let before = states.conv.index_select(0, &at);
        let seen_rlc = Tensor::cat(&[before, inputs.mixed.unsqueeze(1)], 1);
        let _ = states.conv.index_copy_(0, &at, &seen_rlc.narrow(1, 1, reach));
        let weight_lc = self.conv.squeeze_dim(1).transpose(0, 1);
        // As `conv1d` of the chunked form adds up: in fp32, rounded once.
        let products = seen_rlc.to_kind(Kind::Float) * weight_lc.to_kind(Kind::Float);
        let mixed = products.sum_dim_intlist(1, true, None).to_kind(inputs.mixed.kind()).silu();
        let rule = self.rule_inputs(&mixed, &inputs.map(|x| x.unsqueeze(1)));
        step_in_place(&rule, &mut states.recurrent, sequences, &at).to_kind(mixed.kind())
    }

    /// Of convolved tokens `[n, l, c]`.
    fn rule_inputs(&self, mixed: &Tensor, inputs: &DeltaInputs) -> RuleInputs {
        let LinearAttention { key_heads, key_head_dim, value_heads, value_head_dim, .. } = self.shape;
        let keys = key_heads * key_head_dim;
        let parts = mixed.split_with_sizes([keys, keys, value_heads * value_head_dim], 2);
        let to_heads = |part: &Tensor, heads: i64| part.unflatten(2, [heads, -1]).to_kind(Kind::Float);
        // Each key head serves consecutive value heads.
        let shared = |part: &Tensor| {
            to_heads(part, key_heads).repeat_interleave_self_int(value_heads / key_heads, 2, None)
        };
        RuleInputs {
            queries: shared(&parts[0]),
            keys: shared(&parts[1]),
            values: to_heads(&parts[2], value_heads),
            decay: inputs.decay.shallow_clone(),
            beta: inputs.beta.shallow_clone(),
        }
    }
}

/// The layer.
pub(super) struct DeltaNet {
    /// Queries, keys and values; then gate, strength and decay.
    in_proj: Linear,
    out_proj: Linear,
    memory: DeltaMemory,
    /// `[h]`.
    dt_bias: Tensor,
    /// `[h]`.
    a_log: Tensor,
    /// `[d]`.
    norm: Tensor,
    eps: f64,
}

impl DeltaNet {
    pub(super) fn new(
        source: &mut dyn ParamSource,
        name: &str,
        width: i64,
        shape: &LinearAttention,
        eps: f64,
    ) -> Self {
        let channels = shape.channels();
        let values = shape.value_heads * shape.value_head_dim;
        let parts = [
            ("in_proj_qkv", channels),
            ("in_proj_z", values),
            ("in_proj_b", shape.value_heads),
            ("in_proj_a", shape.value_heads),
        ];
        let conv = source.param(format!("{name}.conv1d.weight"), &[channels, 1, shape.conv_kernel]);
        Self {
            memory: DeltaMemory { conv, shape: shape.clone() },
            dt_bias: source.param(format!("{name}.dt_bias"), &[shape.value_heads]),
            a_log: source.param(format!("{name}.A_log"), &[shape.value_heads]),
            norm: source.param(format!("{name}.norm.weight"), &[shape.value_head_dim]),
            in_proj: Linear::stacked(
                source,
                &parts.map(|(part, output)| (format!("{name}.{part}"), output)),
                width,
                Bias::No,
            ),
            out_proj: Linear::new(source, &format!("{name}.out_proj"), values, width, Bias::No),
            eps,
        }
    }

    /// `[t, width]` to `[t, width]`; `run` gives the outputs `[t, h, d]` of the memory.
    pub(super) fn forward(
        &self,
        x_td: &Tensor,
        run: impl FnOnce(&DeltaMemory, &DeltaInputs) -> Tensor,
    ) -> Tensor {
        let LinearAttention { value_heads, value_head_dim, .. } = self.memory.shape;
        let values = value_heads * value_head_dim;
        let projected = self.in_proj.forward(x_td);
        let sizes = [self.memory.shape.channels(), values, value_heads, value_heads];
        let parts = projected.split_with_sizes(sizes, 1);
        let rate = self.a_log.to_kind(Kind::Float).exp();
        let inputs = DeltaInputs {
            mixed: parts[0].shallow_clone(),
            beta: parts[2].sigmoid().to_kind(Kind::Float),
            decay: -(parts[3].to_kind(Kind::Float) + &self.dt_bias).softplus() * rate,
        };
        let out_thd = run(&self.memory, &inputs);
        let gate_thd = parts[1].reshape(out_thd.size());
        self.out_proj.forward(&self.gated_norm(&out_thd, &gate_thd).flatten(1, 2))
    }

    /// `norm(x) w silu(gate)`, the norm before the gate, in fp32.
    fn gated_norm(&self, x_thd: &Tensor, gate_thd: &Tensor) -> Tensor {
        let kind = x_thd.kind();
        let x = x_thd.to_kind(Kind::Float);
        let scale = (x.square().mean_dim(-1, true, None) + self.eps).rsqrt();
        let normed = (x * scale).to_kind(kind) * &self.norm;
        (normed * gate_thd.to_kind(Kind::Float).silu()).to_kind(kind)
    }
}
