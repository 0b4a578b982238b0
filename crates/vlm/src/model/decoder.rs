//! The decoder: Qwen2.5 with multimodal rotary positions (M-RoPE; Qwen2-VL, arXiv 2409.12191, section 2.1).
//!
//! It sees tokens packed without padding, `[t, width]`. Which token attends to which is the business of an
//! [`AttentionPlan`]: packed groups in training and prefill, a KV cache in decoding. All three run this one forward.
//!
//! Axes in tensor names: t token, h head, d width.

use tch::{Kind, Tensor};

use super::{
    TextConfig,
    layers::{Linear, RmsNorm, Rotary, rotary_frequencies},
    params::ParamSource,
};

/// Decides which keys each query sees, and keeps them when that is its job.
pub trait AttentionPlan {
    /// Attention of one layer: queries `[t, heads, d]`, keys and values `[t, kv_heads, d]`, rotary applied;
    /// returns `[t, heads, d]`. Called once per layer, in order.
    fn attend(&mut self, layer: usize, q_thd: &Tensor, k_thd: &Tensor, v_thd: &Tensor) -> Tensor;
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
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::new(source, &format!("model.layers.{i}"), config))
            .collect();
        let norm = RmsNorm::new(source, "model.norm", config.hidden_size, config.rms_norm_eps);
        let lm_head =
            if tied { embed_tokens.shallow_clone() } else { source.param("lm_head.weight".into(), &shape) };
        Self { embed_tokens, layers, norm, lm_head, config: config.clone() }
    }

    /// Token ids `[t]` to embeddings `[t, width]`.
    pub fn embed(&self, tokens_t: &Tensor) -> Tensor {
        self.embed_tokens.index_select(0, tokens_t)
    }

    /// Embeddings `[t, width]` at M-RoPE positions `[3, t]` to normed hidden states `[t, width]`.
    pub fn forward(&self, x_td: &Tensor, positions_3t: &Tensor, plan: &mut dyn AttentionPlan) -> Tensor {
        let rotary = self.rotary(positions_3t, x_td.kind());
        let mut x_td = x_td.shallow_clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x_td = layer.forward(&x_td, &rotary, i, plan);
        }
        self.norm.forward(&x_td)
    }

    /// Hidden states `[t, width]` to logits `[t, vocab]` in fp32.
    pub fn logits(&self, hidden_td: &Tensor) -> Tensor {
        hidden_td.linear::<Tensor>(&self.lm_head, None).to_kind(Kind::Float)
    }

    /// Layers.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Each rotary frequency turns with one of time, height and width, by sections of `mrope_section`.
    fn rotary(&self, positions_3t: &Tensor, kind: Kind) -> Rotary {
        let half = self.config.head_dim() / 2;
        let frequencies = rotary_frequencies(self.config.rope_theta, half, positions_3t.device());
        let positions_t3 = positions_3t.transpose(0, 1).to_kind(Kind::Float);
        let mut start = 0;
        let sections: Vec<Tensor> = (0..3)
            .map(|axis| {
                let n = self.config.mrope_section[axis as usize];
                let angles = positions_t3.narrow(1, axis, 1) * frequencies.narrow(0, start, n);
                start += n;
                angles
            })
            .collect();
        Rotary::from_angles(&Tensor::cat(&sections, 1), kind)
    }
}

struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Layer {
    fn new(source: &mut dyn ParamSource, name: &str, config: &TextConfig) -> Self {
        let (width, eps) = (config.hidden_size, config.rms_norm_eps);
        Self {
            input_layernorm: RmsNorm::new(source, &format!("{name}.input_layernorm"), width, eps),
            self_attn: Attention::new(source, &format!("{name}.self_attn"), config),
            post_attention_layernorm: RmsNorm::new(
                source,
                &format!("{name}.post_attention_layernorm"),
                width,
                eps,
            ),
            mlp: Mlp::new(source, &format!("{name}.mlp"), width, config.intermediate_size),
        }
    }

    fn forward(&self, x_td: &Tensor, rotary: &Rotary, layer: usize, plan: &mut dyn AttentionPlan) -> Tensor {
        let x_td = x_td + self.self_attn.forward(&self.input_layernorm.forward(x_td), rotary, layer, plan);
        let mlp_td = self.mlp.forward(&self.post_attention_layernorm.forward(&x_td));
        x_td + mlp_td
    }
}

struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    head_dim: i64,
}

impl Attention {
    fn new(source: &mut dyn ParamSource, name: &str, config: &TextConfig) -> Self {
        let (width, head_dim) = (config.hidden_size, config.head_dim());
        let (q_width, kv_width) =
            (config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim);
        Self {
            q_proj: Linear::with_bias(source, &format!("{name}.q_proj"), width, q_width),
            k_proj: Linear::with_bias(source, &format!("{name}.k_proj"), width, kv_width),
            v_proj: Linear::with_bias(source, &format!("{name}.v_proj"), width, kv_width),
            o_proj: Linear::new(source, &format!("{name}.o_proj"), q_width, width),
            head_dim,
        }
    }

    fn forward(&self, x_td: &Tensor, rotary: &Rotary, layer: usize, plan: &mut dyn AttentionPlan) -> Tensor {
        let heads = |x: Tensor| x.view([x.size()[0], -1, self.head_dim]);
        let q_thd = rotary.apply(&heads(self.q_proj.forward(x_td)));
        let k_thd = rotary.apply(&heads(self.k_proj.forward(x_td)));
        let v_thd = heads(self.v_proj.forward(x_td));
        let out_thd = plan.attend(layer, &q_thd, &k_thd, &v_thd);
        self.o_proj.forward(&out_thd.flatten(1, 2))
    }
}

/// `down(silu(gate(x)) * up(x))` (Shazeer 2020).
#[expect(clippy::struct_field_names, reason = "the names of the checkpoint")]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    fn new(source: &mut dyn ParamSource, name: &str, width: i64, inner: i64) -> Self {
        Self {
            gate_proj: Linear::new(source, &format!("{name}.gate_proj"), width, inner),
            up_proj: Linear::new(source, &format!("{name}.up_proj"), width, inner),
            down_proj: Linear::new(source, &format!("{name}.down_proj"), inner, width),
        }
    }

    fn forward(&self, x_td: &Tensor) -> Tensor {
        self.down_proj.forward(&(self.gate_proj.forward(x_td).silu() * self.up_proj.forward(x_td)))
    }
}
