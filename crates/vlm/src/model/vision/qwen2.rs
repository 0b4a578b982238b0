//! The tower of Qwen2-VL (arXiv 2409.12191, section 2.1): layer norms, plain MLPs, every block sees the whole image.
//!
//! Axes in tensor names: p patch, d width.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    blocks::{Blocks, PatchPositions},
    parts::{EPS, Merger, MergerNames, PatchEmbed, image_segments, rotary, rotary_angles},
    plain_block::PlainBlock,
};
use crate::model::{
    VisionConfig,
    layers::{Bias, LayerNorm, Norm},
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
        let patch_embed = PatchEmbed::of_video(source, config, Bias::No);
        let blocks = (0..config.depth)
            .map(|i| PlainBlock::of_qwen(source, &format!("visual.blocks.{i}"), ["fc1", "fc2"], config))
            .collect();
        let norm = Norm::Layer(LayerNorm::new(source, "visual.merger.ln_q", width, EPS));
        let names = MergerNames::of_qwen(["visual.merger.mlp.0", "visual.merger.mlp.2"], config);
        let merger = Merger::new(source, norm, width, &names, config);
        Self { patch_embed, blocks, merger, config: config.clone() }
    }
}

impl Blocks for Qwen2Tower {
    fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn positions(&self, grids: &[ImageGrid], kind: Kind, device: Device) -> PatchPositions {
        PatchPositions {
            rotary: Some(rotary(&rotary_angles(&self.config, grids, device))),
            within_images: image_segments(grids, 0, kind, device),
            windows: None,
        }
    }

    fn embed(&self, pixels_pd: &Tensor, _grids: &[ImageGrid], _positions: &PatchPositions) -> Tensor {
        self.patch_embed.forward(pixels_pd)
    }

    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        self.blocks[block].forward(x_pd, positions.rotary.as_ref(), &positions.within_images)
    }

    fn merge(&self, x_pd: &Tensor, _positions: &PatchPositions) -> Tensor {
        self.merger.forward(x_pd)
    }
}
