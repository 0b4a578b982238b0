//! The decoder of Llama, Qwen2, Qwen2.5, Qwen3 and Qwen3.5 with multimodal rotary positions (M-RoPE; Qwen2-VL, arXiv
//! 2409.12191, section 2.1), of which plain ones are a case. The families differ in biases, in norms of queries and keys,
//! and in how M-RoPE deals out frequencies; Qwen3.5 has layers without attention (`delta_net.rs`).
//!
//! It sees tokens packed without padding, `[t, width]`. Which token sees which is the business of a
//! [`TokenPlan`]: packed groups in training and prefill, a KV cache in decoding. All three run this one forward.
//!
//! Axes in tensor names: t token, k image token, h head, d width.

use reft_autograd::{linear, numbers};
use reft_kernels::Heads;
use tch::{Kind, Tensor};

use super::{
    AttentionBias, TextConfig,
    delta_net::{DeltaInputs, DeltaMemory, DeltaNet},
    inference::has_kernels,
    layers::{Bias, GatedMlp, Linear, RmsNorm, Rotary, rotary_frequencies},
    params::ParamSource,
    vision::VisionFeatures,
};

/// Decides what each token sees of others, and keeps it when that is its job.
pub trait TokenPlan {
    /// Attention of one layer: queries `[t, heads, d]`, keys and values `[t, kv_heads, d]`, rotary applied;
    /// returns `[t, heads, d]`. Called once per layer, in order.
    fn attend(&mut self, layer: usize, q_thd: &Tensor, k_thd: &Tensor, v_thd: &Tensor) -> Tensor;

    /// What a layer without attention gives each token, `[t, h, d]`, of its own and of the tokens before it in its sequence.
    /// Called once per such layer, in order.
    fn remember(&mut self, layer: usize, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor;
}

/// What the decoder reads: embeddings, and features that join the hidden states of image tokens on the way.
pub struct DecoderInput {
    /// `[t, width]` embeddings, image features in place.
    x_td: Tensor,
    /// `[k, width]` per layer, added to the image tokens behind it (DeepStack, arXiv 2406.04334).
    deepstack: Vec<Tensor>,
    /// `[k]` the image tokens; none in a text.
    image_tokens_k: Option<Tensor>,
}

impl DecoderInput {
    /// Puts the features of images at the image tokens `tokens_k`.
    #[must_use]
    pub(super) fn with_images(&self, tokens_k: &Tensor, features: VisionFeatures) -> Self {
        Self {
            x_td: self.x_td.index_copy(0, tokens_k, &features.tokens_md),
            deepstack: features.deepstack,
            image_tokens_k: Some(tokens_k.shallow_clone()),
        }
    }

    /// This input, its hidden states without gradient; what joins on the way keeps its own.
    pub(super) fn detach_hidden(self) -> Self {
        Self { x_td: self.x_td.detach(), ..self }
    }

    /// `[t, width]` what the first layer reads.
    pub(super) fn hidden(&self) -> &Tensor {
        &self.x_td
    }

    /// The hidden states behind a layer, with what joins there.
    fn join(&self, layer: usize, x_td: Tensor) -> Tensor {
        match (self.deepstack.get(layer), &self.image_tokens_k) {
            (Some(features_kd), Some(tokens_k)) => x_td.index_add(0, tokens_k, features_kd),
            _ => x_td,
        }
    }
}

/// Embedding, layers and final norm.
pub struct Decoder {
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Tensor,
    config: TextConfig,
}

impl Decoder {
    pub(super) fn new(source: &mut dyn ParamSource, config: &TextConfig, tied: bool) -> Self {
        let shape = [config.vocab_size, config.hidden_size];
        let embed_tokens = source.param("model.embed_tokens.weight".into(), &shape);
        let layers = (0..config.num_hidden_layers).map(|i| Layer::new(source, i, config)).collect();
        let norm = rms_norm(source, "model.norm", config.hidden_size, config);
        let lm_head =
            if tied { embed_tokens.shallow_clone() } else { source.param("lm_head.weight".into(), &shape) };
        Self { embed_tokens, layers, norm, lm_head, config: config.clone() }
    }

    /// Token ids `[t]` of a text.
    pub fn embed(&self, tokens_t: &Tensor) -> DecoderInput {
        let x_td = self.embed_tokens.index_select(0, tokens_t);
        DecoderInput { x_td, deepstack: Vec::new(), image_tokens_k: None }
    }

    /// Tokens at M-RoPE positions `[3, t]` to normed hidden states `[t, width]`.
    pub fn forward(&self, input: &DecoderInput, positions_3t: &Tensor, plan: &mut dyn TokenPlan) -> Tensor {
        let rotary = self.rotary(positions_3t, input.x_td.kind());
        let mut x_td = input.x_td.shallow_clone();
        for layer in 0..self.layers.len() {
            x_td = self.layer(layer, &x_td, input, &rotary, plan);
        }
        self.finish(&x_td)
    }

    /// Hidden states behind a layer, from those before it.
    pub(super) fn layer(
        &self,
        layer: usize,
        x_td: &Tensor,
        input: &DecoderInput,
        rotary: &Rotary,
        plan: &mut dyn TokenPlan,
    ) -> Tensor {
        input.join(layer, self.layers[layer].forward(x_td, rotary, layer, plan))
    }

    /// Normed hidden states, from those behind the last layer.
    pub(super) fn finish(&self, x_td: &Tensor) -> Tensor {
        self.norm.forward(x_td)
    }

    /// Hidden states `[t, width]` to logits `[t, vocab]` in fp32.
    pub fn logits(&self, hidden_td: &Tensor) -> Tensor {
        linear(hidden_td, &self.lm_head, None).to_kind(Kind::Float)
    }

    /// Its numbers, for the kernels of a decode step; none where these do not compute: outside an
    /// [`Inference`](super::inference::Inference), on a GPU, in bf16, with dropout.
    ///
    /// # Safety
    ///
    /// While they live, nobody writes to the parameters through any of their handles: no optimizer step, no load.
    #[expect(unsafe_code, reason = "parameters share their memory with other handles")]
    pub unsafe fn for_kernels(&self) -> Option<reft_kernels::Decoder<'_>> {
        let is_hybrid = self.config.linear_attention.is_some();
        if is_hybrid || !has_kernels(self.embed_tokens.device(), self.embed_tokens.kind()) {
            return None;
        }
        // SAFETY: promised by the caller.
        unsafe {
            Some(reft_kernels::Decoder {
                heads: self.heads(),
                eps: self.config.rms_norm_eps as f32,
                embed_tokens: numbers(&self.embed_tokens),
                layers: self.layers.iter().map(|layer| layer.for_kernels()).collect::<Option<_>>()?,
                norm: self.norm.for_kernels(),
                lm_head: numbers(&self.lm_head),
                frequencies: rotary_frequencies(self.config.rope_theta, self.heads().d / 2),
            })
        }
    }

    /// Heads of attention.
    pub fn heads(&self) -> Heads {
        Heads {
            n: self.config.num_attention_heads as usize,
            kv: self.config.num_key_value_heads as usize,
            d: self.config.head_dim as usize,
        }
    }

    /// Whether a layer attends; else it has a gated delta net.
    pub fn attends(&self, layer: usize) -> bool {
        self.config.attends(layer)
    }

    /// Layers.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Each rotary frequency turns with one of time, height and width.
    pub(super) fn rotary(&self, positions_3t: &Tensor, kind: Kind) -> Rotary {
        let axes = mrope_axes(self.config.mrope_section, self.config.mrope_interleaved);
        let device = positions_3t.device();
        let frequencies = rotary_frequencies(self.config.rope_theta, axes.len());
        let frequencies = Tensor::from_slice(&frequencies).to_device(device);
        let axes = Tensor::from_slice(&axes).to_device(device);
        let positions_td = positions_3t.index_select(0, &axes).transpose(0, 1).to_kind(Kind::Float);
        Rotary::from_angles(&(positions_td * frequencies), kind)
    }
}

/// The axis (0 time, 1 height, 2 width) of each rotary frequency: sections one after another, or, interleaved
/// (Qwen3-VL, arXiv 2511.21631), height and width at every third frequency and time at the others.
fn mrope_axes(section: [i64; 3], interleaved: bool) -> Vec<i64> {
    if !interleaved {
        return (0..3).flat_map(|axis| std::iter::repeat_n(axis, section[axis as usize] as usize)).collect();
    }
    let axis_at = |i: i64| (1..3).find(|&axis| i % 3 == axis && i < 3 * section[axis as usize]).unwrap_or(0);
    (0..section.iter().sum()).map(axis_at).collect()
}

/// A norm of the decoder, by `1 + w` in Qwen3.5.
fn rms_norm(source: &mut dyn ParamSource, name: &str, width: i64, config: &TextConfig) -> RmsNorm {
    match &config.linear_attention {
        Some(_) => RmsNorm::offset(source, name, width, config.rms_norm_eps),
        None => RmsNorm::new(source, name, width, config.rms_norm_eps),
    }
}

/// What lets a token see others.
enum Mixer {
    Attention(Attention),
    DeltaNet(DeltaNet),
}

struct Layer {
    input_layernorm: RmsNorm,
    mixer: Mixer,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

impl Layer {
    fn new(source: &mut dyn ParamSource, layer: i64, config: &TextConfig) -> Self {
        let name = format!("model.layers.{layer}");
        let (width, eps) = (config.hidden_size, config.rms_norm_eps);
        let widths = [width, config.intermediate_size];
        let input_layernorm = rms_norm(source, &format!("{name}.input_layernorm"), width, config);
        let mixer = match &config.linear_attention {
            Some(shape) if !config.attends(layer as usize) => {
                Mixer::DeltaNet(DeltaNet::new(source, &format!("{name}.linear_attn"), width, shape, eps))
            }
            _ => Mixer::Attention(Attention::new(source, &format!("{name}.self_attn"), config)),
        };
        let post_attention_layernorm =
            rms_norm(source, &format!("{name}.post_attention_layernorm"), width, config);
        Self {
            input_layernorm,
            mixer,
            post_attention_layernorm,
            mlp: GatedMlp::new(source, &format!("{name}.mlp"), widths, Bias::No, config.hidden_act),
        }
    }

    fn forward(&self, x_td: &Tensor, rotary: &Rotary, layer: usize, plan: &mut dyn TokenPlan) -> Tensor {
        let normed_td = self.input_layernorm.forward(x_td);
        let mixed_td = match &self.mixer {
            Mixer::Attention(attention) => attention.forward(&normed_td, rotary, layer, plan),
            Mixer::DeltaNet(net) => {
                net.forward(&normed_td, |memory, inputs| plan.remember(layer, memory, inputs))
            }
        };
        let x_td = x_td + mixed_td;
        let mlp_td = self.mlp.forward(&self.post_attention_layernorm.forward(&x_td));
        x_td + mlp_td
    }

    /// # Safety
    ///
    /// Nobody writes to its parameters meanwhile.
    #[expect(unsafe_code, reason = "parameters share their memory with other handles")]
    unsafe fn for_kernels(&self) -> Option<reft_kernels::Layer<'_>> {
        let Mixer::Attention(Attention { qkv_proj, o_proj, qk_norm, .. }) = &self.mixer else { return None };
        // SAFETY: promised by the caller.
        unsafe {
            let [gate_up_proj, down_proj] = self.mlp.for_kernels()?;
            Some(reft_kernels::Layer {
                input_layernorm: self.input_layernorm.for_kernels(),
                qkv_proj: qkv_proj.for_kernels()?,
                qk_norm: qk_norm.as_ref().map(|norms| norms.each_ref().map(|norm| norm.for_kernels())),
                o_proj: o_proj.for_kernels()?,
                post_attention_layernorm: self.post_attention_layernorm.for_kernels(),
                gate_up_proj,
                down_proj,
            })
        }
    }
}

struct Attention {
    qkv_proj: Linear,
    o_proj: Linear,
    /// Norms of queries and of keys, over one head.
    qk_norm: Option<[RmsNorm; 2]>,
    /// Whether the query projection gives a gate of the output beside each head's query (Qwen3.5).
    is_gated: bool,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
}

impl Attention {
    fn new(source: &mut dyn ParamSource, name: &str, config: &TextConfig) -> Self {
        let (width, head_dim) = (config.hidden_size, config.head_dim);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (qkv_bias, o_bias) = match config.attention_bias {
            AttentionBias::None => (Bias::No, Bias::No),
            AttentionBias::QueryKeyValue => (Bias::Yes, Bias::No),
            AttentionBias::All => (Bias::Yes, Bias::Yes),
        };
        let is_gated = config.linear_attention.is_some();
        let q_heads = if is_gated { 2 * heads } else { heads };
        let qkv = [("q_proj", q_heads), ("k_proj", kv_heads), ("v_proj", kv_heads)]
            .map(|(part, heads)| (format!("{name}.{part}"), heads * head_dim));
        Self {
            qkv_proj: Linear::stacked(source, &qkv, width, qkv_bias),
            o_proj: Linear::new(source, &format!("{name}.o_proj"), heads * head_dim, width, o_bias),
            qk_norm: config.qk_norm.then(|| {
                ["q_norm", "k_norm"].map(|norm| rms_norm(source, &format!("{name}.{norm}"), head_dim, config))
            }),
            is_gated,
            heads,
            kv_heads,
            head_dim,
        }
    }

    fn forward(&self, x_td: &Tensor, rotary: &Rotary, layer: usize, plan: &mut dyn TokenPlan) -> Tensor {
        let mut qkv = self.qkv_proj.forward(x_td);
        let mut gate_td = None;
        if self.is_gated {
            // Of each head the query, then the gate.
            let width = self.heads * self.head_dim;
            let queries = qkv.narrow(1, 0, 2 * width).unflatten(1, [self.heads, 2, self.head_dim]);
            gate_td = Some(queries.select(2, 1).flatten(1, 2));
            let rest = qkv.narrow(1, 2 * width, 2 * self.kv_heads * self.head_dim);
            qkv = Tensor::cat(&[queries.select(2, 0).flatten(1, 2), rest], 1);
        }
        let [q_thd, k_thd, v_thd] = match &self.qk_norm {
            None => rotary.turned_heads(&qkv, self.heads, self.kv_heads),
            Some([q_norm, k_norm]) => {
                let parts = [self.heads, self.kv_heads, self.kv_heads];
                let parts = qkv.view([x_td.size()[0], -1, self.head_dim]).split_with_sizes(parts, 1);
                let turned = |norm: &RmsNorm, part: &Tensor| rotary.apply_to_part(&norm.forward(part));
                [turned(q_norm, &parts[0]), turned(k_norm, &parts[1]), parts[2].shallow_clone()]
            }
        };
        let out_td = plan.attend(layer, &q_thd, &k_thd, &v_thd).flatten(1, 2);
        match gate_td {
            Some(gate_td) => self.o_proj.forward(&(out_td * gate_td.sigmoid())),
            None => self.o_proj.forward(&out_td),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_dealt_out_by_hand() {
        assert_eq!(mrope_axes([2, 1, 1], false), [0, 0, 1, 2]);
        assert_eq!(mrope_axes([4, 2, 2], true), [0, 1, 2, 0, 1, 2, 0, 0]);
        // Qwen3-VL's own: 24 of time, 20 of height, 20 of width; the last four are time's.
        let axes = mrope_axes([24, 20, 20], true);
        assert_eq!(axes[57..], [0, 1, 2, 0, 0, 0, 0]);
        assert_eq!([0, 1, 2].map(|axis| axes.iter().filter(|&&a| a == axis).count()), [24, 20, 20]);
    }
}
