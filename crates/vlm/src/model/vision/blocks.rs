//! A tower as a sequence of blocks, so that it can be run as a whole or block by block.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use crate::model::{layers::Rotary, packed_attention::PackedAttention};

/// Where the patches of a batch are: what blocks need beside the hidden states.
pub(in crate::model) struct PatchPositions {
    /// None where a tower has learned positions alone.
    pub(super) rotary: Option<Rotary>,
    pub(super) within_images: PackedAttention,
    /// Attention windows, and the order of merged patches that makes them contiguous.
    pub(super) windows: Option<(PackedAttention, Tensor)>,
}

/// The steps of a tower.
pub(in crate::model) trait Blocks {
    /// Number of blocks.
    fn n_blocks(&self) -> usize;

    /// The positions of the patches of images.
    fn positions(&self, grids: &[ImageGrid], kind: Kind, device: Device) -> PatchPositions;

    /// Pixels `[p, patch_dim]` to the hidden states that the first block reads.
    fn embed(&self, pixels_pd: &Tensor, grids: &[ImageGrid], positions: &PatchPositions) -> Tensor;

    /// Hidden states behind a block.
    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor;

    /// Features that the decoder gets of the hidden states behind a block (DeepStack), in the order of blocks.
    fn tap(&self, _block: usize, _x_pd: &Tensor) -> Option<Tensor> {
        None
    }

    /// One embedding per image token, in row order, from the hidden states behind the last block.
    fn merge(&self, x_pd: &Tensor, positions: &PatchPositions) -> Tensor;
}
