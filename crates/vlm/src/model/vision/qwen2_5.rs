//! The tower of Qwen2.5-VL (arXiv 2502.13923, section 2.1): RMS norms, gated MLPs, and attention within windows in all
//! but a few blocks.
//!
//! Axes in tensor names: p patch, m merged patch, d width.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    blocks::{Blocks, PatchPositions},
    parts::{Attention, EPS, Merger, MergerNames, PatchEmbed, image_segments, rotary, rotary_angles},
};
use crate::model::{
    VisionConfig,
    layers::{Bias, GatedMlp, Norm, RmsNorm, Rotary},
    packed_attention::PackedAttention,
    params::ParamSource,
};

pub(super) struct Qwen2_5Tower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    merger: Merger,
    config: VisionConfig,
    /// Side of a window in merged patches.
    window_side: usize,
    full_blocks: Vec<i64>,
}

impl Qwen2_5Tower {
    pub(super) fn new(
        source: &mut dyn ParamSource,
        config: &VisionConfig,
        window_size: i64,
        full_blocks: &[i64],
    ) -> Self {
        let width = config.hidden_size;
        let patch_embed = PatchEmbed::of_video(source, config, Bias::No);
        let blocks =
            (0..config.depth).map(|i| Block::new(source, &format!("visual.blocks.{i}"), config)).collect();
        let norm = Norm::Rms(RmsNorm::new(source, "visual.merger.ln_q", width, EPS));
        let names = MergerNames::of_qwen(["visual.merger.mlp.0", "visual.merger.mlp.2"], config);
        Self {
            patch_embed,
            blocks,
            merger: Merger::new(source, norm, width, &names, config),
            config: config.clone(),
            window_side: (window_size / config.spatial_merge_size / config.patch_size) as usize,
            full_blocks: full_blocks.to_vec(),
        }
    }

    /// Patches in window order; four (or so) patches that merge stay together.
    fn by_window(&self, x: &Tensor, order_m: &Tensor) -> Tensor {
        let merge = self.config.spatial_merge_size;
        let merged = x.view([-1, merge * merge, x.size()[1]]);
        merged.index_select(0, order_m).flatten(0, 1)
    }
}

impl Blocks for Qwen2_5Tower {
    fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn positions(&self, grids: &[ImageGrid], kind: Kind, device: Device) -> PatchPositions {
        let merge = self.config.spatial_merge_size;
        let windows = Windows::new(self.window_side, merge as usize, grids);
        let order_m = Tensor::from_slice(&windows.order).to_device(device);
        let angles = self.by_window(&rotary_angles(&self.config, grids, device), &order_m);
        PatchPositions {
            rotary: Some(rotary(&angles)),
            within_images: image_segments(grids, 0, kind, device),
            windows: Some((PackedAttention::within(&windows.lengths, kind, device), order_m)),
        }
    }

    fn embed(&self, pixels_pd: &Tensor, _grids: &[ImageGrid], positions: &PatchPositions) -> Tensor {
        let x_pd = self.patch_embed.forward(pixels_pd);
        match &positions.windows {
            Some((_, order_m)) => self.by_window(&x_pd, order_m),
            None => x_pd,
        }
    }

    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        let within = match &positions.windows {
            Some((within_windows, _)) if !self.full_blocks.contains(&(block as i64)) => within_windows,
            _ => &positions.within_images,
        };
        self.blocks[block].forward(x_pd, positions.rotary.as_ref(), within)
    }

    fn merge(&self, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        let tokens_md = self.merger.forward(x_pd);
        match &positions.windows {
            Some((_, order_m)) => tokens_md.index_select(0, &order_m.argsort(0, false)),
            None => tokens_md,
        }
    }
}

/// Merged patches sorted by attention window, and the windows' lengths in patches.
struct Windows {
    order: Vec<i64>,
    lengths: Vec<i64>,
}

impl Windows {
    fn new(side: usize, merge: usize, grids: &[ImageGrid]) -> Self {
        let (mut order, mut lengths) = (Vec::new(), Vec::new());
        let mut first = 0;
        for grid in grids {
            let (rows, columns) = (grid.rows / merge, grid.columns / merge);
            for top in (0..rows).step_by(side) {
                for left in (0..columns).step_by(side) {
                    let before = order.len();
                    for row in top..(top + side).min(rows) {
                        order.extend(
                            (left..(left + side).min(columns)).map(|c| (first + row * columns + c) as i64),
                        );
                    }
                    lengths.push(((order.len() - before) * merge * merge) as i64);
                }
            }
            first += rows * columns;
        }
        Self { order, lengths }
    }
}

struct Block {
    norm1: RmsNorm,
    norm2: RmsNorm,
    attn: Attention,
    mlp: GatedMlp,
}

impl Block {
    fn new(source: &mut dyn ParamSource, name: &str, config: &VisionConfig) -> Self {
        let width = config.hidden_size;
        let widths = [width, config.intermediate_size];
        Self {
            norm1: RmsNorm::new(source, &format!("{name}.norm1"), width, EPS),
            norm2: RmsNorm::new(source, &format!("{name}.norm2"), width, EPS),
            attn: Attention::fused(source, &format!("{name}.attn"), config),
            mlp: GatedMlp::new(source, &format!("{name}.mlp"), widths, Bias::Yes, config.hidden_act),
        }
    }

    fn forward(&self, x_pd: &Tensor, rotary: Option<&Rotary>, segments: &PackedAttention) -> Tensor {
        let x_pd = x_pd + self.attn.forward(&self.norm1.forward(x_pd), rotary, segments);
        let mlp_pd = self.mlp.forward(&self.norm2.forward(&x_pd));
        x_pd + mlp_pd
    }
}
