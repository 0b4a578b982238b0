//! The tower of Qwen2-VL (arXiv 2409.12191, section 2.1): layer norms, plain MLPs, every block sees the whole image.
//!
//! Axes in tensor names: p patch, d width.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    blocks::{Blocks, PatchPositions},
    parts::{Attention, EPS, Merger, PatchEmbed, image_segments, rotary, rotary_angles},
};
use crate::model::{
    VisionConfig,
    layers::{Bias, LayerNorm, Norm, PlainMlp, Rotary},
    packed_attention::PackedAttention,
    params::ParamSource,
};

pub(super) struct Qwen2Tower {
    patch_embed: PatchEmbed,
    blocks: Vec<PlainBlock>,
    merger: Merger,
    config: VisionConfig,
}

impl Qwen2Tower {
    pub(super) fn new(source: &mut dyn ParamSource, config: &VisionConfig) -> Self {
        let width = config.hidden_size;
        let patch_embed = PatchEmbed::new(source, config, Bias::No);
        let blocks = (0..config.depth)
            .map(|i| PlainBlock::new(source, &format!("visual.blocks.{i}"), ["fc1", "fc2"], config))
            .collect();
        let norm = Norm::Layer(LayerNorm::new(source, "visual.merger.ln_q", width, EPS));
        let names = ["visual.merger.mlp.0", "visual.merger.mlp.2"];
        let merger = Merger::new(source, norm, width, names, config);
        Self { patch_embed, blocks, merger, config: config.clone() }
    }
}

impl Blocks for Qwen2Tower {
    fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn positions(&self, grids: &[ImageGrid], kind: Kind, device: Device) -> PatchPositions {
        PatchPositions {
            rotary: rotary(&rotary_angles(&self.config, grids, device)),
            within_images: image_segments(grids, kind, device),
            windows: None,
        }
    }

    fn embed(&self, pixels_pd: &Tensor, _grids: &[ImageGrid], _positions: &PatchPositions) -> Tensor {
        self.patch_embed.forward(pixels_pd)
    }

    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        self.blocks[block].forward(x_pd, &positions.rotary, &positions.within_images)
    }

    fn merge(&self, x_pd: &Tensor, _positions: &PatchPositions) -> Tensor {
        self.merger.forward(x_pd)
    }
}

/// A block with layer norms and a plain MLP; Qwen3-VL has the same.
pub(super) struct PlainBlock {
    norm1: LayerNorm,
    norm2: LayerNorm,
    attn: Attention,
    mlp: PlainMlp,
}

impl PlainBlock {
    /// `linears` are the names of the MLP's linear layers.
    pub(super) fn new(
        source: &mut dyn ParamSource,
        name: &str,
        linears: [&str; 2],
        config: &VisionConfig,
    ) -> Self {
        let width = config.hidden_size;
        let linears = linears.map(|linear| format!("{name}.mlp.{linear}"));
        Self {
            norm1: LayerNorm::new(source, &format!("{name}.norm1"), width, EPS),
            norm2: LayerNorm::new(source, &format!("{name}.norm2"), width, EPS),
            attn: Attention::new(source, &format!("{name}.attn"), config),
            mlp: PlainMlp::new(
                source,
                [&linears[0], &linears[1]],
                [width, config.intermediate_size, width],
                config.hidden_act,
            ),
        }
    }

    pub(super) fn forward(&self, x_pd: &Tensor, rotary: &Rotary, segments: &PackedAttention) -> Tensor {
        let x_pd = x_pd + self.attn.forward(&self.norm1.forward(x_pd), rotary, segments);
        let mlp_pd = self.mlp.forward(&self.norm2.forward(&x_pd));
        x_pd + mlp_pd
    }
}
