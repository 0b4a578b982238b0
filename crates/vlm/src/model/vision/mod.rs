//! The vision towers, one file per family, over shared parts.
//!
//! Patches of all images are packed, `[p, width]`, in the processor's order: blocks of patches that merge to one token,
//! row by row. A tower gives one feature per merged patch.
//!
//! Axes in tensor names: p patch, m merged patch, d width.

mod blocks;
mod intern_vit;
mod parts;
mod plain_block;
mod qwen2;
mod qwen2_5;
mod qwen3;
mod siglip;

use reft_core::ImageGrid;
use tch::Tensor;

pub(super) use self::blocks::{Blocks, PatchPositions};
use self::{
    intern_vit::InternVit, qwen2::Qwen2Tower, qwen2_5::Qwen2_5Tower, qwen3::Qwen3Tower, siglip::SiglipTower,
};
use super::{
    TowerConfig, VisionConfig,
    params::{ParamSource, VisionMemory},
};

/// Patches in, decoder tokens out.
pub struct VisionTower {
    tower: Tower,
    /// Of its weights; none where it does not give the same features each time.
    memory: Option<Vec<VisionMemory>>,
}

enum Tower {
    Qwen2(Qwen2Tower),
    Qwen2_5(Qwen2_5Tower),
    Qwen3(Qwen3Tower),
    Siglip(SiglipTower),
    InternVit(InternVit),
}

/// What the decoder gets of images.
pub struct VisionFeatures {
    /// `[m, out_hidden_size]` one embedding per image token.
    pub tokens_md: Tensor,
    /// `[m, out_hidden_size]` each: added to the hidden states behind the decoder's first layers. Empty but for
    /// Qwen3-VL.
    pub deepstack: Vec<Tensor>,
}

impl VisionFeatures {
    /// Handles of the same tensors.
    pub(super) fn share(&self) -> Self {
        Self {
            tokens_md: self.tokens_md.shallow_clone(),
            deepstack: self.deepstack.iter().map(Tensor::shallow_clone).collect(),
        }
    }

    /// Those of several images, one after another.
    pub(super) fn concat(parts: &[Self]) -> Self {
        let joined = |of: &dyn Fn(&Self) -> &Tensor| {
            let tensors: Vec<&Tensor> = parts.iter().map(of).collect();
            if let [one] = tensors.as_slice() { one.shallow_clone() } else { Tensor::cat(&tensors, 0) }
        };
        let n = parts.first().map_or(0, |part| part.deepstack.len());
        Self {
            tokens_md: joined(&|part| &part.tokens_md),
            deepstack: (0..n).map(|layer| joined(&|part| &part.deepstack[layer])).collect(),
        }
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |x: &Tensor| (x.numel() * x.kind().elt_size_in_bytes()) as u64;
        bytes(&self.tokens_md) + self.deepstack.iter().map(bytes).sum::<u64>()
    }

    /// The features of the tokens in `rows_k`, in that order; a token may come several times.
    pub(super) fn select(self, rows_k: &Tensor) -> Self {
        let select = |x: &Tensor| x.index_select(0, rows_k);
        Self { tokens_md: select(&self.tokens_md), deepstack: self.deepstack.iter().map(select).collect() }
    }
}

impl VisionTower {
    pub(super) fn new(source: &mut dyn ParamSource, config: &VisionConfig) -> Self {
        let tower = match &config.tower {
            TowerConfig::Qwen2 => Tower::Qwen2(Qwen2Tower::new(source, config)),
            TowerConfig::Qwen2_5 { window_size, fullatt_block_indexes } => {
                Tower::Qwen2_5(Qwen2_5Tower::new(source, config, *window_size, fullatt_block_indexes))
            }
            TowerConfig::Qwen3 { num_position_embeddings, deepstack_visual_indexes } => Tower::Qwen3(
                Qwen3Tower::new(source, config, *num_position_embeddings, deepstack_visual_indexes),
            ),
            TowerConfig::Siglip { positions_per_side, eps } => {
                Tower::Siglip(SiglipTower::new(source, config, *positions_per_side, *eps))
            }
            TowerConfig::InternVit(own) => Tower::InternVit(InternVit::new(source, config, own)),
        };
        Self { tower, memory: source.vision_memory() }
    }

    /// The memory of its weights in a pass that starts now and gives the same features for the same image, without
    /// gradient; none for any other.
    pub(super) fn fixed(&self) -> Option<&[VisionMemory]> {
        self.memory.as_deref().filter(|memory| !memory.iter().any(VisionMemory::learns))
    }

    /// Pixels `[p, patch_dim]` of all images, in the processor's order, to features in row order.
    pub fn forward(&self, pixels_pd: &Tensor, grids: &[ImageGrid]) -> VisionFeatures {
        let tower = self.blocks();
        let positions = tower.positions(grids, pixels_pd.kind(), pixels_pd.device());
        let mut x_pd = tower.embed(pixels_pd, grids, &positions);
        let mut deepstack = Vec::new();
        for block in 0..tower.n_blocks() {
            x_pd = tower.block(block, &x_pd, &positions);
            deepstack.extend(tower.tap(block, &x_pd));
        }
        VisionFeatures { tokens_md: tower.merge(&x_pd, &positions), deepstack }
    }

    /// The tower block by block.
    pub(super) fn blocks(&self) -> &dyn Blocks {
        match &self.tower {
            Tower::Qwen2(tower) => tower,
            Tower::Qwen2_5(tower) => tower,
            Tower::Qwen3(tower) => tower,
            Tower::Siglip(tower) => tower,
            Tower::InternVit(tower) => tower,
        }
    }
}
