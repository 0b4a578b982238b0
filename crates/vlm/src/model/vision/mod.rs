//! The vision towers, one file per family, over shared parts.
//!
//! Patches of all images are packed, `[p, width]`, in the processor's order: blocks of patches that merge to one token,
//! row by row. A tower gives one feature per merged patch.
//!
//! Axes in tensor names: p patch, m merged patch, d width.

mod parts;
mod qwen2;
mod qwen2_5;
mod qwen3;

use reft_core::ImageGrid;
use tch::Tensor;

use self::{qwen2::Qwen2Tower, qwen2_5::Qwen2_5Tower, qwen3::Qwen3Tower};
use super::{TowerConfig, VisionConfig, params::ParamSource};

/// Patches in, decoder tokens out.
pub struct VisionTower(Tower);

enum Tower {
    Qwen2(Qwen2Tower),
    Qwen2_5(Qwen2_5Tower),
    Qwen3(Qwen3Tower),
}

/// What the decoder gets of images.
pub struct VisionFeatures {
    /// `[m, out_hidden_size]` one embedding per image token.
    pub tokens_md: Tensor,
    /// `[m, out_hidden_size]` each: added to the hidden states behind the decoder's first layers. Empty but for
    /// Qwen3-VL.
    pub deepstack: Vec<Tensor>,
}

impl VisionTower {
    pub(super) fn new(source: &mut dyn ParamSource, config: &VisionConfig) -> Self {
        Self(match &config.tower {
            TowerConfig::Qwen2 => Tower::Qwen2(Qwen2Tower::new(source, config)),
            TowerConfig::Qwen2_5 { window_size, fullatt_block_indexes } => {
                Tower::Qwen2_5(Qwen2_5Tower::new(source, config, *window_size, fullatt_block_indexes))
            }
            TowerConfig::Qwen3 { num_position_embeddings, deepstack_visual_indexes } => Tower::Qwen3(
                Qwen3Tower::new(source, config, *num_position_embeddings, deepstack_visual_indexes),
            ),
        })
    }

    /// Pixels `[p, patch_dim]` of all images, in the processor's order, to features in row order.
    pub fn forward(&self, pixels_pd: &Tensor, grids: &[ImageGrid]) -> VisionFeatures {
        let only = |tokens_md: Tensor| VisionFeatures { tokens_md, deepstack: Vec::new() };
        match &self.0 {
            Tower::Qwen2(tower) => only(tower.forward(pixels_pd, grids)),
            Tower::Qwen2_5(tower) => only(tower.forward(pixels_pd, grids)),
            Tower::Qwen3(tower) => tower.forward(pixels_pd, grids),
        }
    }
}
