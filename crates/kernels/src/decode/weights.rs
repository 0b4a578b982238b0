//! The weights of a decoder, borrowed.

use crate::Heads;

/// `y = x W^T + b`, with low-rank updates of some of its outputs.
pub struct Linear<'a> {
    /// `[output, input]`.
    pub weight: &'a [f32],
    /// `[output]`.
    pub bias: Option<&'a [f32]>,
    /// Updates, each of outputs that no other has.
    pub updates: Vec<LowRank<'a>>,
}

/// `scale B A x`, added to some outputs of a linear layer (Hu et al. 2021, section 4.1).
pub struct LowRank<'a> {
    /// The first output that it is added to.
    pub first: usize,
    /// `[rank, input]`.
    pub a: &'a [f32],
    /// `[outputs, rank]`.
    pub b: &'a [f32],
    /// Numbers between.
    pub rank: usize,
    /// Factor.
    pub scale: f32,
}

/// A layer: attention and gated MLP, each behind a norm.
pub struct Layer<'a> {
    /// `[width]`.
    pub input_layernorm: &'a [f32],
    /// Queries, keys and values, `(n + 2 kv) d` outputs.
    pub qkv_proj: Linear<'a>,
    /// `[d]` norms of queries and of keys.
    pub qk_norm: Option<[&'a [f32]; 2]>,
    /// Back to the width.
    pub o_proj: Linear<'a>,
    /// `[width]`.
    pub post_attention_layernorm: &'a [f32],
    /// Gate and what it lets through, `2 inner` outputs.
    pub gate_up_proj: Linear<'a>,
    /// Back to the width.
    pub down_proj: Linear<'a>,
}

/// A decoder of the Qwen2, Qwen2.5 or Qwen3 kind.
pub struct Decoder<'a> {
    /// Heads of attention.
    pub heads: Heads,
    /// Added to mean squares in norms.
    pub eps: f32,
    /// `[vocabulary, width]`.
    pub embed_tokens: &'a [f32],
    /// Layers in order.
    pub layers: Vec<Layer<'a>>,
    /// `[width]`.
    pub norm: &'a [f32],
    /// `[vocabulary, width]`.
    pub lm_head: &'a [f32],
    /// `[d / 2]` rotary frequencies: angle by position.
    pub frequencies: Vec<f32>,
}

impl Decoder<'_> {
    pub(super) fn width(&self) -> usize {
        self.norm.len()
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.lm_head.len() / self.width()
    }
}
