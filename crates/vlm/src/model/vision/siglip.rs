//! The tower of SmolVLM2 and Idefics3 (arXiv 2504.05299, 2408.12637): SigLIP (arXiv 2303.15343) with learned positions
//! that are shared out among the patches of a view, and one linear map of the patches that merge.
//!
//! Axes in tensor names: p patch, d width.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    blocks::{Blocks, PatchPositions},
    parts::{Attention, PatchEmbed, image_segments, patch_places},
    plain_block::PlainBlock,
};
use crate::model::{
    VisionConfig,
    layers::{Bias, LayerNorm, Linear, Norm, PlainMlp},
    params::ParamSource,
};

pub(super) struct SiglipTower {
    patch_embed: PatchEmbed,
    position_embedding: Tensor,
    positions_per_side: i64,
    blocks: Vec<PlainBlock>,
    post_layernorm: LayerNorm,
    connector: Linear,
    config: VisionConfig,
}

impl SiglipTower {
    pub(super) fn new(
        source: &mut dyn ParamSource,
        config: &VisionConfig,
        positions_per_side: i64,
        eps: f64,
    ) -> Self {
        let width = config.hidden_size;
        let patch_embed = PatchEmbed::of_image(source, "visual.embeddings.patch_embedding", config);
        let position_embedding = source
            .param("visual.embeddings.position_embedding.weight".into(), &[positions_per_side.pow(2), width]);
        let blocks =
            (0..config.depth).map(|i| block(source, &format!("visual.encoder.layers.{i}"), config, eps));
        Self {
            patch_embed,
            position_embedding,
            positions_per_side,
            blocks: blocks.collect(),
            post_layernorm: LayerNorm::new(source, "visual.post_layernorm", width, eps),
            connector: Linear::new(
                source,
                "visual.merger.modality_projection.proj",
                config.merged_width(),
                config.out_hidden_size,
                Bias::No,
            ),
            config: config.clone(),
        }
    }

    /// The learned position of each patch, in the processor's order.
    fn position_ids(&self, grid: ImageGrid) -> Tensor {
        let per_side = self.positions_per_side;
        let (rows, columns) = (buckets(grid.rows, per_side), buckets(grid.columns, per_side));
        let ids: Vec<i64> = patch_places(grid, self.config.spatial_merge_size as usize)
            .map(|[row, column]| rows[row] * per_side + columns[column])
            .collect();
        Tensor::from_slice(&ids)
    }
}

fn block(source: &mut dyn ParamSource, name: &str, config: &VisionConfig, eps: f64) -> PlainBlock {
    let width = config.hidden_size;
    let norms = ["layer_norm1", "layer_norm2"]
        .map(|norm| Norm::Layer(LayerNorm::new(source, &format!("{name}.{norm}"), width, eps)));
    let linears = ["fc1", "fc2"].map(|linear| format!("{name}.mlp.{linear}"));
    PlainBlock {
        norms,
        attn: Attention::separate(source, &format!("{name}.self_attn"), "out_proj", Bias::Yes, None, config),
        mlp: PlainMlp::new(
            source,
            [&linears[0], &linears[1]],
            [width, config.intermediate_size, width],
            config.hidden_act,
        ),
        scales: None,
    }
}

/// The learned position of each of `n` patches along a side, of `per_side`. By libtorch's own arithmetic: a patch whose
/// position is a boundary but for rounding falls where the reference has it fall.
fn buckets(n: usize, per_side: i64) -> Vec<i64> {
    let options = (Kind::Float, Device::Cpu);
    let step = 1.0 / per_side as f64;
    let boundaries = Tensor::arange_start_step(step, 1.0, step, options);
    let positions = Tensor::arange(n as i64, options) * Tensor::from(n as i64).reciprocal();
    let ids = positions.clamp_max(1.0 - 1e-6).bucketize(&boundaries, false, true);
    (0..n as i64).map(|i| ids.int64_value(&[i])).collect()
}

impl Blocks for SiglipTower {
    fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn positions(&self, grids: &[ImageGrid], kind: Kind, device: Device) -> PatchPositions {
        PatchPositions { rotary: None, within_images: image_segments(grids, 0, kind, device), windows: None }
    }

    fn embed(&self, pixels_pd: &Tensor, grids: &[ImageGrid], _positions: &PatchPositions) -> Tensor {
        let ids: Vec<Tensor> = grids.iter().map(|&grid| self.position_ids(grid)).collect();
        let ids = Tensor::cat(&ids, 0).to_device(pixels_pd.device());
        self.patch_embed.forward(pixels_pd) + self.position_embedding.index_select(0, &ids)
    }

    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        self.blocks[block].forward(x_pd, None, &positions.within_images)
    }

    fn merge(&self, x_pd: &Tensor, _positions: &PatchPositions) -> Tensor {
        let normed = self.post_layernorm.forward(x_pd);
        self.connector.forward(&normed.view([-1, self.config.merged_width()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_share_positions_by_hand() {
        assert_eq!(buckets(4, 4), [0, 1, 2, 3]);
        // Places 0, 1/4, 1/2, 3/4 between boundaries at sixths.
        assert_eq!(buckets(4, 6), [0, 1, 3, 4]);
        // Smaller than the view: several patches have one position.
        assert_eq!(buckets(6, 3), [0, 0, 1, 1, 2, 2]);
    }
}
