//! The tower of InternVL (arXiv 2504.10479): a plain ViT with a class token that only the blocks see, learned positions,
//! layer scales, and a projector of four patches to one token.
//!
//! Every view is a tile of the tower's own size. Its tokens are the class token, then the patches.
//!
//! Axes in tensor names: v view, p token of the tower, d width.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    blocks::{Blocks, PatchPositions},
    parts::{Attention, Merger, MergerNames, PatchEmbed, image_segments, patch_places},
    plain_block::PlainBlock,
};
use crate::model::{
    InternVitConfig, VisionConfig,
    layers::{Bias, LayerNorm, Norm, PlainMlp, RmsNorm},
    params::ParamSource,
};

/// Epsilon of the projector's norm: PyTorch's default.
const PROJECTOR_EPS: f64 = 1e-5;

pub(super) struct InternVit {
    cls_token: Tensor,
    patch_embed: PatchEmbed,
    position_embeddings: Tensor,
    blocks: Vec<PlainBlock>,
    layernorm: Option<LayerNorm>,
    projector: Merger,
    n_patches: i64,
    config: VisionConfig,
}

impl InternVit {
    pub(super) fn new(source: &mut dyn ParamSource, config: &VisionConfig, own: &InternVitConfig) -> Self {
        let width = config.hidden_size;
        let n_patches = own.positions_per_side.pow(2);
        let cls_token = source.param("visual.embeddings.cls_token".into(), &[1, 1, width]);
        let patch_embed =
            PatchEmbed::of_image(source, "visual.embeddings.patch_embeddings.projection", config);
        let position_embeddings =
            source.param("visual.embeddings.position_embeddings".into(), &[1, n_patches + 1, width]);
        let blocks: Vec<PlainBlock> = (0..config.depth)
            .map(|i| block(source, &format!("visual.encoder.layer.{i}"), config, own))
            .collect();
        let layernorm = own.final_norm.then(|| LayerNorm::new(source, "visual.layernorm", width, own.eps));
        let merged_width = config.merged_width();
        let norm = LayerNorm::new(source, "visual.merger.layer_norm", merged_width, PROJECTOR_EPS);
        let names = MergerNames {
            linears: ["visual.merger.linear_1", "visual.merger.linear_2"],
            inner: config.out_hidden_size,
            act: own.projector_act,
        };
        Self {
            cls_token,
            patch_embed,
            position_embeddings,
            blocks,
            layernorm,
            projector: Merger::new(source, Norm::Layer(norm), merged_width, &names, config),
            n_patches,
            config: config.clone(),
        }
    }
}

fn block(
    source: &mut dyn ParamSource,
    name: &str,
    config: &VisionConfig,
    own: &InternVitConfig,
) -> PlainBlock {
    let width = config.hidden_size;
    let scales = ["lambda_1", "lambda_2"].map(|scale| source.param(format!("{name}.{scale}"), &[width]));
    let bias = if own.attention_bias { Bias::Yes } else { Bias::No };
    let qk_norm = own.qk_norm.then_some(own.eps);
    let attn =
        Attention::separate(source, &format!("{name}.attention"), "projection_layer", bias, qk_norm, config);
    let linears = ["fc1", "fc2"].map(|linear| format!("{name}.mlp.{linear}"));
    let mlp = PlainMlp::new(
        source,
        [&linears[0], &linears[1]],
        [width, config.intermediate_size, width],
        config.hidden_act,
    );
    let norms = ["layernorm_before", "layernorm_after"].map(|norm| {
        let norm = format!("{name}.{norm}");
        if own.rms_norm {
            Norm::Rms(RmsNorm::new(source, &norm, width, own.eps))
        } else {
            Norm::Layer(LayerNorm::new(source, &norm, width, own.eps))
        }
    });
    PlainBlock { norms, attn, mlp, scales: Some(scales) }
}

impl Blocks for InternVit {
    fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn positions(&self, grids: &[ImageGrid], kind: Kind, device: Device) -> PatchPositions {
        PatchPositions { rotary: None, within_images: image_segments(grids, 1, kind, device), windows: None }
    }

    fn embed(&self, pixels_pd: &Tensor, grids: &[ImageGrid], _positions: &PatchPositions) -> Tensor {
        let width = self.config.hidden_size;
        let positions_pd = self.position_embeddings.squeeze_dim(0);
        let patches_vpd = self.patch_embed.forward(pixels_pd).view([-1, self.n_patches, width]);
        // All views have one grid.
        let places = grids.first().map(|&grid| patch_places(grid, self.config.spatial_merge_size as usize));
        let order: Vec<i64> = places
            .into_iter()
            .flatten()
            .map(|[row, column]| 1 + row as i64 * self.n_patches.isqrt() + column as i64)
            .collect();
        let order = Tensor::from_slice(&order).to_device(pixels_pd.device());
        let patches_vpd = patches_vpd + positions_pd.index_select(0, &order);
        let class_vpd =
            (&self.cls_token + positions_pd.narrow(0, 0, 1)).expand([grids.len() as i64, 1, width], false);
        Tensor::cat(&[class_vpd, patches_vpd], 1).flatten(0, 1)
    }

    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        self.blocks[block].forward(x_pd, None, &positions.within_images)
    }

    fn merge(&self, x_pd: &Tensor, _positions: &PatchPositions) -> Tensor {
        let normed_pd = match &self.layernorm {
            Some(norm) => norm.forward(x_pd),
            None => x_pd.shallow_clone(),
        };
        let with_class_vpd = normed_pd.view([-1, self.n_patches + 1, self.config.hidden_size]);
        self.projector.forward(&with_class_vpd.narrow(1, 1, self.n_patches).flatten(0, 1))
    }
}
