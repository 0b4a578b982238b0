//! The block of most towers: norm, attention, norm, plain MLP.
//!
//! Axes in tensor names: p patch, d width.

use tch::Tensor;

use super::parts::{Attention, EPS};
use crate::model::{
    VisionConfig,
    layers::{LayerNorm, Norm, PlainMlp, Rotary},
    packed_attention::PackedAttention,
    params::ParamSource,
};

/// `x + scale_1 attn(norm_1(x))`, then `x + scale_2 mlp(norm_2(x))`.
pub(super) struct PlainBlock {
    pub(super) norms: [Norm; 2],
    pub(super) attn: Attention,
    pub(super) mlp: PlainMlp,
    /// `[width]` each (LayerScale, Touvron et al. 2021, arXiv 2103.17239).
    pub(super) scales: Option<[Tensor; 2]>,
}

impl PlainBlock {
    /// That of Qwen2-VL and Qwen3-VL. `linears` are the names of the MLP's linear layers.
    pub(super) fn of_qwen(
        source: &mut dyn ParamSource,
        name: &str,
        linears: [&str; 2],
        config: &VisionConfig,
    ) -> Self {
        let width = config.hidden_size;
        let linears = linears.map(|linear| format!("{name}.mlp.{linear}"));
        let norm = |norm: &str| Norm::Layer(LayerNorm::new(source, &format!("{name}.{norm}"), width, EPS));
        Self {
            norms: ["norm1", "norm2"].map(norm),
            attn: Attention::fused(source, &format!("{name}.attn"), config),
            mlp: PlainMlp::new(
                source,
                [&linears[0], &linears[1]],
                [width, config.intermediate_size, width],
                config.hidden_act,
            ),
            scales: None,
        }
    }

    pub(super) fn forward(
        &self,
        x_pd: &Tensor,
        rotary: Option<&Rotary>,
        segments: &PackedAttention,
    ) -> Tensor {
        let [norm1, norm2] = &self.norms;
        let x_pd = x_pd + self.scaled(0, self.attn.forward(&norm1.forward(x_pd), rotary, segments));
        let mlp_pd = self.mlp.forward(&norm2.forward(&x_pd));
        x_pd + self.scaled(1, mlp_pd)
    }

    fn scaled(&self, n: usize, x_pd: Tensor) -> Tensor {
        match &self.scales {
            Some(scales) => x_pd * &scales[n],
            None => x_pd,
        }
    }
}
