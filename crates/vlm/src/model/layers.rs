//! Linear, norms, MLPs and rotary embedding: the pieces that towers and decoders share.
//!
//! Axes in tensor names: t token, h head, d width.

use reft_autograd::{Heads, is_plain, linear, numbers, rms_norm, silu_gate, turned_heads};
use serde::Deserialize;
use tch::{Kind, Tensor};

use super::{
    LinearSpec, LowRank,
    inference::{is_for_kernels, kernel_threads, map},
    params::ParamSource,
};

/// Whether a linear layer has a bias.
#[derive(Clone, Copy)]
pub(super) enum Bias {
    Yes,
    No,
}

/// `y = x W^T + b`, weights as in the checkpoint: `[out, in]`.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// Columns of each part and its low-rank update; empty when no part has one.
    updates: Vec<(i64, Option<LowRank>)>,
}

impl Linear {
    pub(super) fn new(source: &mut dyn ParamSource, name: &str, input: i64, output: i64, bias: Bias) -> Self {
        Self::stacked(source, &[(name.to_owned(), output)], input, bias)
    }

    /// Several layers of the same input as one product: their outputs side by side, in the order of `parts`
    /// (name, output).
    pub(super) fn stacked(
        source: &mut dyn ParamSource,
        parts: &[(String, i64)],
        input: i64,
        bias: Bias,
    ) -> Self {
        let named = |suffix: &str| -> Vec<(String, i64)> {
            parts.iter().map(|(name, output)| (format!("{name}.{suffix}"), *output)).collect()
        };
        let weight = source.stacked(&named("weight"), &[input]);
        let bias = match bias {
            Bias::Yes => Some(source.stacked(&named("bias"), &[])),
            Bias::No => None,
        };
        let mut updates: Vec<(i64, Option<LowRank>)> = parts
            .iter()
            .map(|(name, output)| {
                let update = source.low_rank(&LinearSpec { name: name.clone(), input, output: *output });
                (*output, update)
            })
            .collect();
        if updates.iter().all(|(_, update)| update.is_none()) {
            updates.clear();
        }
        Self { weight, bias, updates }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let y = linear(x, &self.weight, self.bias.as_ref());
        if self.updates.is_empty() {
            return y;
        }
        let mut first = 0;
        let parts: Vec<Tensor> = self
            .updates
            .iter()
            .map(|(columns, update)| {
                let part = y.narrow(-1, first, *columns);
                first += columns;
                update.as_ref().map_or_else(|| part.shallow_clone(), |update| update.add_to(&part, x))
            })
            .collect();
        Tensor::cat(&parts, -1)
    }

    /// Its numbers, fp32 on the CPU; none when inputs are dropped.
    ///
    /// # Safety
    ///
    /// Nobody writes to its parameters meanwhile.
    #[expect(unsafe_code, reason = "parameters share their memory with other handles")]
    pub(super) unsafe fn for_kernels(&self) -> Option<reft_kernels::Linear<'_>> {
        let (mut first, mut updates) = (0, Vec::new());
        for (columns, update) in &self.updates {
            if let Some(update) = update {
                // SAFETY: promised by the caller, as below.
                updates.push(unsafe { update.for_kernels(first)? });
            }
            first += *columns as usize;
        }
        // SAFETY: promised by the caller.
        let (weight, bias) = unsafe { (numbers(&self.weight), self.bias.as_ref().map(|bias| numbers(bias))) };
        Some(reft_kernels::Linear { weight, bias, updates })
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight`, in fp32 whatever the weights are (Zhang & Sennrich 2019).
pub(super) struct RmsNorm {
    weight: Tensor,
    eps: f64,
    /// The factor is `1 + weight`.
    is_offset: bool,
}

impl RmsNorm {
    pub(super) fn new(source: &mut dyn ParamSource, name: &str, width: i64, eps: f64) -> Self {
        Self { weight: source.param(format!("{name}.weight"), &[width]), eps, is_offset: false }
    }

    /// With `1 + weight` in place of `weight`.
    pub(super) fn offset(source: &mut dyn ParamSource, name: &str, width: i64, eps: f64) -> Self {
        Self { is_offset: true, ..Self::new(source, name, width, eps) }
    }

    /// Its numbers, fp32 on the CPU. Kernels have no offset.
    ///
    /// # Safety
    ///
    /// Nobody writes to its weight meanwhile.
    #[expect(unsafe_code, reason = "parameters share their memory with other handles")]
    pub(super) unsafe fn for_kernels(&self) -> &[f32] {
        // SAFETY: promised by the caller.
        unsafe { numbers(&self.weight) }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        if self.is_offset {
            return self.with_offset(x);
        }
        if is_for_kernels(x) && is_for_kernels(&self.weight) {
            let (eps, threads) = (self.eps as f32, kernel_threads());
            return map([&x.contiguous(), &self.weight], &x.size(), |[x, weight], out| {
                reft_kernels::rms_norm(x.numbers, weight.numbers, eps, out, threads);
            });
        }
        if is_plain(x) && is_plain(&self.weight) {
            return rms_norm(x, &self.weight, self.eps);
        }
        if x.device().is_cuda() && x.kind() == self.weight.kind() {
            return x.rms_norm(self.weight.size(), Some(&self.weight), self.eps);
        }
        let kind = x.kind();
        let x = x.to_kind(Kind::Float);
        let scale = x.square().mean_dim(-1, true, None).g_add_scalar(self.eps).rsqrt();
        (x * scale).to_kind(kind) * &self.weight
    }

    /// The product is rounded to the number type of `x` once, behind the factor.
    fn with_offset(&self, x: &Tensor) -> Tensor {
        let factor = self.weight.to_kind(Kind::Float).g_add_scalar(1.0);
        let wide = x.to_kind(Kind::Float);
        if is_plain(&wide) {
            return rms_norm(&wide, &factor, self.eps).to_kind(x.kind());
        }
        let scale = wide.square().mean_dim(-1, true, None).g_add_scalar(self.eps).rsqrt();
        (wide * scale * factor).to_kind(x.kind())
    }
}

/// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` (Ba et al. 2016).
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(super) fn new(source: &mut dyn ParamSource, name: &str, width: i64, eps: f64) -> Self {
        let weight = source.param(format!("{name}.weight"), &[width]);
        Self { weight, bias: source.param(format!("{name}.bias"), &[width]), eps }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.eps, false)
    }
}

/// A norm of either kind, where a module takes both.
pub(super) enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

impl Norm {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

/// An activation, by its name in `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)`.
    Gelu,
    /// `x Phi(x)` by the tanh approximation (Hendrycks & Gimpel 2016).
    #[serde(rename = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
}

impl Activation {
    pub(super) fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu("none"),
            Self::GeluTanh => x.gelu("tanh"),
            Self::QuickGelu => x * (x * 1.702).sigmoid(),
        }
    }
}

/// `down(act(gate(x)) * up(x))` (Shazeer 2020).
pub(super) struct GatedMlp {
    gate_up_proj: Linear,
    down_proj: Linear,
    inner: i64,
    act: Activation,
}

impl GatedMlp {
    pub(super) fn new(
        source: &mut dyn ParamSource,
        name: &str,
        [width, inner]: [i64; 2],
        bias: Bias,
        act: Activation,
    ) -> Self {
        Self {
            gate_up_proj: Linear::stacked(
                source,
                &["gate_proj", "up_proj"].map(|part| (format!("{name}.{part}"), inner)),
                width,
                bias,
            ),
            down_proj: Linear::new(source, &format!("{name}.down_proj"), inner, width, bias),
            inner,
            act,
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let gate_up = self.gate_up_proj.forward(x);
        if self.act == Activation::Silu && is_for_kernels(&gate_up) {
            let mut shape = x.size();
            if let Some(width) = shape.last_mut() {
                *width = self.inner;
            }
            let inner = map([&gate_up], &shape, |[gate_up], out| {
                reft_kernels::silu_gate(gate_up.numbers, self.inner as usize, out, kernel_threads());
            });
            return self.down_proj.forward(&inner);
        }
        if is_plain(&gate_up) && self.act == Activation::Silu {
            return self.down_proj.forward(&silu_gate(&gate_up));
        }
        let (gate, up) = (gate_up.narrow(-1, 0, self.inner), gate_up.narrow(-1, self.inner, self.inner));
        self.down_proj.forward(&(self.act.apply(&gate) * up))
    }

    /// The numbers of gate with up, and of down, fp32 on the CPU; none where kernels have not its activation.
    ///
    /// # Safety
    ///
    /// Nobody writes to its parameters meanwhile.
    #[expect(unsafe_code, reason = "parameters share their memory with other handles")]
    pub(super) unsafe fn for_kernels(&self) -> Option<[reft_kernels::Linear<'_>; 2]> {
        if self.act != Activation::Silu {
            return None;
        }
        // SAFETY: promised by the caller.
        unsafe { Some([self.gate_up_proj.for_kernels()?, self.down_proj.for_kernels()?]) }
    }
}

/// `second(act(first(x)))`, with biases.
pub(super) struct PlainMlp {
    first: Linear,
    second: Linear,
    act: Activation,
}

impl PlainMlp {
    /// `names` are those of the two linear layers, `widths` those of input, between and output.
    pub(super) fn new(
        source: &mut dyn ParamSource,
        names: [&str; 2],
        [input, inner, output]: [i64; 3],
        act: Activation,
    ) -> Self {
        Self {
            first: Linear::new(source, names[0], input, inner, Bias::Yes),
            second: Linear::new(source, names[1], inner, output, Bias::Yes),
            act,
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        self.second.forward(&self.act.apply(&self.first.forward(x)))
    }
}

/// `[n]` frequencies `base^(-i / n)`.
pub(super) fn rotary_frequencies(base: f64, n: usize) -> Vec<f32> {
    (0..n).map(|i| 1.0 / (base as f32).powf(i as f32 / n as f32)).collect()
}

/// Cosines and sines `[t, 1, d]` of the rotary angles `[t, d/2]`, each angle used for two halves of a head.
pub(super) struct Rotary {
    cos: Tensor,
    /// Negative in the left half.
    sin: Tensor,
    half: i64,
}

impl Rotary {
    pub(super) fn from_angles(angles_td: &Tensor, kind: Kind) -> Self {
        let (cos, sin) = (angles_td.cos(), angles_td.sin());
        let halves =
            |left: &Tensor, right: &Tensor| Tensor::cat(&[left, right], -1).unsqueeze(1).to_kind(kind);
        Self { half: angles_td.size()[1], cos: halves(&cos, &cos), sin: halves(&(-&sin), &sin) }
    }

    /// Queries, keys and values `[t, heads, d]` of a fused projection `[t, (q + 2 kv) d]`, queries and keys turned.
    pub(super) fn turned_heads(&self, qkv: &Tensor, q: i64, kv: i64) -> [Tensor; 3] {
        let d = 2 * self.half;
        if is_plain(qkv) && is_plain(&self.cos) && !is_for_kernels(qkv) {
            let heads = Heads { q: q as usize, kv: kv as usize, d: d as usize };
            return turned_heads(qkv, heads, &self.cos, &self.sin);
        }
        let x_thd = qkv.view([qkv.size()[0], -1, d]);
        let turned_thd = self.apply(&x_thd.narrow(1, 0, q + kv));
        [turned_thd.narrow(1, 0, q), turned_thd.narrow(1, q, kv), x_thd.narrow(1, q + kv, kv)]
    }

    /// [`Rotary::apply`] to the first numbers of each head, as many as there are angles for.
    pub(super) fn apply_to_part(&self, x_thd: &Tensor) -> Tensor {
        let (turned, d) = (2 * self.half, x_thd.size()[2]);
        if turned == d {
            return self.apply(x_thd);
        }
        let rest = x_thd.narrow(2, turned, d - turned);
        Tensor::cat(&[self.apply(&x_thd.narrow(2, 0, turned)), rest], 2)
    }

    /// Turns `x_thd` by the angles of its tokens (Su et al. 2021, in the half-split layout of the checkpoints).
    /// Computed in the wider of the two number types, returned in that of `x_thd`.
    pub(super) fn apply(&self, x_thd: &Tensor) -> Tensor {
        if is_for_kernels(x_thd) && is_for_kernels(&self.cos) {
            let size = x_thd.size();
            return map([x_thd, &self.cos, &self.sin], &size, |[x, cos, sin], out| {
                let (heads, d) = (size[1] as usize, size[2] as usize);
                reft_kernels::rotate(x, heads, cos.numbers, sin.numbers, d, out, kernel_threads());
            });
        }
        let swapped = x_thd.roll(self.half, 2);
        (x_thd * &self.cos + swapped * &self.sin).to_kind(x_thd.kind())
    }
}
