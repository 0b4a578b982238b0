//! What the towers share: patch embedding, positions and rotary angles of patches, attention, mergers.
//!
//! Axes in tensor names: p patch, m merged patch, h head, d width.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use crate::model::{
    VisionConfig,
    layers::{Activation, Bias, Linear, Norm, PlainMlp, RmsNorm, Rotary, rotary_frequencies},
    packed_attention::PackedAttention,
    params::ParamSource,
};

/// Epsilon of the norms of Qwen's towers; the checkpoints do not state it.
pub(super) const EPS: f64 = 1e-6;

/// The patch embedding. It is stored as a convolution whose stride is its kernel, which is a linear map.
pub(super) struct PatchEmbed {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl PatchEmbed {
    /// Of a tower for images alone: stored as a 2-D convolution.
    pub(super) fn of_image(source: &mut dyn ParamSource, name: &str, config: &VisionConfig) -> Self {
        let (width, side) = (config.hidden_size, config.patch_size);
        Self {
            weight: source.param(format!("{name}.weight"), &[width, config.in_channels, side, side]),
            bias: Some(source.param(format!("{name}.bias"), &[width])),
        }
    }

    /// Of Qwen's towers, which take videos too: stored as a 3-D convolution.
    pub(super) fn of_video(source: &mut dyn ParamSource, config: &VisionConfig, bias: Bias) -> Self {
        let (width, side) = (config.hidden_size, config.patch_size);
        let shape = [width, config.in_channels, config.temporal_patch_size, side, side];
        let weight = source.param("visual.patch_embed.proj.weight".into(), &shape);
        let bias = match bias {
            Bias::Yes => Some(source.param("visual.patch_embed.proj.bias".into(), &[width])),
            Bias::No => None,
        };
        Self { weight, bias }
    }

    pub(super) fn forward(&self, pixels_pd: &Tensor) -> Tensor {
        pixels_pd.linear(&self.weight.flatten(1, -1), self.bias.as_ref())
    }
}

/// Row and column of each patch of an image, in the processor's order.
pub(super) fn patch_places(grid: ImageGrid, merge: usize) -> impl Iterator<Item = [usize; 2]> {
    let per_row = grid.columns / merge;
    (0..grid.tokens).flat_map(move |merged| {
        let (top, left) = (merged / per_row * merge, merged % per_row * merge);
        (0..merge * merge).map(move |inner| [top + inner / merge, left + inner % merge])
    })
}

/// Rotary angles `[p, head_dim / 2]` of the patches, fp32: rows turn one half, columns the other.
pub(super) fn rotary_angles(config: &VisionConfig, grids: &[ImageGrid], device: Device) -> Tensor {
    let quarter = config.hidden_size / config.num_heads / 4;
    let frequencies = Tensor::from_slice(&rotary_frequencies(config.rope_theta, quarter as usize));
    let positions: Vec<f32> = grids
        .iter()
        .flat_map(|&grid| patch_places(grid, config.spatial_merge_size as usize))
        .flatten()
        .map(|position| position as f32)
        .collect();
    let positions_p2 = Tensor::from_slice(&positions).view([-1, 2]);
    (positions_p2.unsqueeze(2) * frequencies).flatten(1, 2).to_device(device)
}

/// Rotary embedding of angles `[p, head_dim / 2]`, fp32 whatever the weights are.
pub(super) fn rotary(angles_pd: &Tensor) -> Rotary {
    Rotary::from_angles(angles_pd, Kind::Float)
}

/// The images of a batch as segments of its patches, each with `extra` tokens that are no patches.
pub(super) fn image_segments(grids: &[ImageGrid], extra: i64, kind: Kind, device: Device) -> PackedAttention {
    let lengths: Vec<i64> = grids.iter().map(|grid| (grid.rows * grid.columns) as i64 + extra).collect();
    PackedAttention::within(&lengths, kind, device)
}

/// Attention of patches to those of their segment.
pub(super) struct Attention {
    qkv: Linear,
    proj: Linear,
    /// Norms of queries and of keys, over their whole width.
    qk_norm: Option<[RmsNorm; 2]>,
    heads: i64,
}

impl Attention {
    /// Queries, keys and values stored as one matrix, as Qwen has it.
    pub(super) fn fused(source: &mut dyn ParamSource, name: &str, config: &VisionConfig) -> Self {
        let width = config.hidden_size;
        Self {
            qkv: Linear::new(source, &format!("{name}.qkv"), width, 3 * width, Bias::Yes),
            proj: Linear::new(source, &format!("{name}.proj"), width, width, Bias::Yes),
            qk_norm: None,
            heads: config.num_heads,
        }
    }

    /// Queries, keys and values stored apart, with `bias`; normed with the epsilon `qk_norm` where there is one.
    pub(super) fn separate(
        source: &mut dyn ParamSource,
        name: &str,
        proj: &str,
        bias: Bias,
        qk_norm: Option<f64>,
        config: &VisionConfig,
    ) -> Self {
        let width = config.hidden_size;
        let qkv = ["q_proj", "k_proj", "v_proj"].map(|part| (format!("{name}.{part}"), width));
        Self {
            qkv: Linear::stacked(source, &qkv, width, bias),
            proj: Linear::new(source, &format!("{name}.{proj}"), width, width, Bias::Yes),
            qk_norm: qk_norm.map(|eps| {
                ["q_norm", "k_norm"].map(|norm| RmsNorm::new(source, &format!("{name}.{norm}"), width, eps))
            }),
            heads: config.num_heads,
        }
    }

    pub(super) fn forward(
        &self,
        x_pd: &Tensor,
        rotary: Option<&Rotary>,
        segments: &PackedAttention,
    ) -> Tensor {
        let qkv = self.qkv.forward(x_pd);
        let [q_phd, k_phd, v_phd] = match rotary {
            Some(rotary) => rotary.turned_heads(&qkv, self.heads, self.heads),
            None => self.unturned_heads(&qkv),
        };
        let out_phd = segments.attend(&q_phd, &k_phd, &v_phd);
        self.proj.forward(&out_phd.flatten(1, 2))
    }

    fn unturned_heads(&self, qkv: &Tensor) -> [Tensor; 3] {
        let width = qkv.size()[1] / 3;
        let parts = [0, 1, 2].map(|n| {
            let part = qkv.narrow(1, n * width, width);
            match self.qk_norm.as_ref().and_then(|norms| norms.get(n as usize)) {
                Some(norm) => norm.forward(&part),
                None => part,
            }
        });
        parts.map(|part| part.unflatten(1, [self.heads, width / self.heads]))
    }
}

/// What differs between mergers.
pub(super) struct MergerNames<'a> {
    /// Names of the two linear maps.
    pub(super) linears: [&'a str; 2],
    /// Width between them.
    pub(super) inner: i64,
    /// Activation between them.
    pub(super) act: Activation,
}

impl<'a> MergerNames<'a> {
    /// Of Qwen's mergers.
    pub(super) fn of_qwen(linears: [&'a str; 2], config: &VisionConfig) -> Self {
        Self { linears, inner: config.merged_width(), act: Activation::Gelu }
    }
}

/// Joins neighbouring patches to one token of the decoder: norm, concatenate, two linear maps with an activation between.
pub(super) struct Merger {
    norm: Norm,
    /// Width that the norm sees: of one patch, or of the concatenated ones.
    norm_width: i64,
    mlp: PlainMlp,
    merged_width: i64,
}

impl Merger {
    pub(super) fn new(
        source: &mut dyn ParamSource,
        norm: Norm,
        norm_width: i64,
        names: &MergerNames<'_>,
        config: &VisionConfig,
    ) -> Self {
        let merged_width = config.merged_width();
        let widths = [merged_width, names.inner, config.out_hidden_size];
        Self { norm, norm_width, mlp: PlainMlp::new(source, names.linears, widths, names.act), merged_width }
    }

    pub(super) fn forward(&self, x_pd: &Tensor) -> Tensor {
        let normed = self.norm.forward(&x_pd.view([-1, self.norm_width]));
        self.mlp.forward(&normed.view([-1, self.merged_width]))
    }
}
