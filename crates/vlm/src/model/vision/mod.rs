//! The vision tower and its merger (Qwen2.5-VL, arXiv 2502.13923, section 2.1).
//!
//! Patches of all images are packed, `[p, width]`, and ordered by attention windows; most blocks attend within a window,
//! a few within the whole image. The merger joins each 2 x 2 patches to one token of the decoder.
//!
//! Axes in tensor names: p patch, m merged patch, h head, d width.

use reft_core::ImageGrid;
use tch::Tensor;

use super::{
    VisionConfig,
    layers::{Linear, RmsNorm, Rotary, rotary_frequencies},
    params::ParamSource,
    segments::Segments,
};

/// Epsilon of the tower's norms; the checkpoints do not state it.
const EPS: f64 = 1e-6;

/// Patches in, decoder tokens out.
pub struct VisionTower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    merger: Merger,
    config: VisionConfig,
}

impl VisionTower {
    pub(super) fn new(source: &mut dyn ParamSource, config: &VisionConfig) -> Self {
        Self {
            patch_embed: PatchEmbed::new(source, config),
            blocks: (0..config.depth)
                .map(|i| Block::new(source, &format!("visual.blocks.{i}"), config))
                .collect(),
            merger: Merger::new(source, config),
            config: config.clone(),
        }
    }

    /// Pixels `[p, patch_dim]` of all images, in the processor's order, to tokens `[m, out_hidden_size]` in row order.
    pub fn forward(&self, pixels_pd: &Tensor, grids: &[ImageGrid]) -> Tensor {
        let device = pixels_pd.device();
        let merge = self.config.spatial_merge_size;
        let windows = Windows::new(&self.config, grids);
        let window_order_m = Tensor::from_slice(&windows.order).to_device(device);

        let by_window = |x: &Tensor| {
            let blocks = x.view([-1, merge * merge, x.size()[1]]);
            blocks.index_select(0, &window_order_m).flatten(0, 1)
        };
        let mut x_pd = by_window(&self.patch_embed.forward(pixels_pd));
        let angles_pd = by_window(&self.angles(grids).to_device(device));
        let rotary = Rotary::from_angles(&angles_pd, x_pd.kind());
        let within_windows = Segments::new(&windows.lengths, x_pd.kind(), device);
        let patches: Vec<i64> = grids.iter().map(|g| (g.rows * g.columns) as i64).collect();
        let within_images = Segments::new(&patches, x_pd.kind(), device);

        for (i, block) in self.blocks.iter().enumerate() {
            let full = self.config.fullatt_block_indexes.contains(&(i as i64));
            x_pd = block.forward(&x_pd, &rotary, if full { &within_images } else { &within_windows });
        }
        let row_order_m = window_order_m.argsort(0, false);
        self.merger.forward(&x_pd).index_select(0, &row_order_m)
    }

    /// Rotary angles `[p, head_dim / 2]` of the patches in the processor's order: rows turn one half, columns the other.
    fn angles(&self, grids: &[ImageGrid]) -> Tensor {
        let quarter = self.config.hidden_size / self.config.num_heads / 4;
        let frequencies = rotary_frequencies(10_000.0, quarter, tch::Device::Cpu);
        let merge = self.config.spatial_merge_size as usize;
        let mut places: Vec<f32> = Vec::new();
        for grid in grids {
            for merged in 0..grid.tokens {
                let per_row = grid.columns / merge;
                let (top, left) = (merged / per_row * merge, merged % per_row * merge);
                for inner in 0..merge * merge {
                    places.extend([(top + inner / merge) as f32, (left + inner % merge) as f32]);
                }
            }
        }
        let places_p2 = Tensor::from_slice(&places).view([-1, 2]);
        (places_p2.unsqueeze(2) * frequencies).flatten(1, 2)
    }
}

/// Merged patches sorted by attention window, and the windows' lengths in patches.
struct Windows {
    order: Vec<i64>,
    lengths: Vec<i64>,
}

impl Windows {
    fn new(config: &VisionConfig, grids: &[ImageGrid]) -> Self {
        let merge = config.spatial_merge_size as usize;
        let side = (config.window_size / config.spatial_merge_size / config.patch_size) as usize;
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

/// The patch embedding. It is stored as a 3-D convolution whose stride is its kernel, which is a linear map.
struct PatchEmbed {
    weight: Tensor,
}

impl PatchEmbed {
    fn new(source: &mut dyn ParamSource, config: &VisionConfig) -> Self {
        let side = config.patch_size;
        let shape = [config.hidden_size, config.in_channels, config.temporal_patch_size, side, side];
        Self { weight: source.param("visual.patch_embed.proj.weight".into(), &shape) }
    }

    fn forward(&self, pixels_pd: &Tensor) -> Tensor {
        pixels_pd.linear::<Tensor>(&self.weight.flatten(1, -1), None)
    }
}

struct Block {
    norm1: RmsNorm,
    qkv: Linear,
    proj: Linear,
    norm2: RmsNorm,
    mlp: Mlp,
    heads: i64,
}

impl Block {
    fn new(source: &mut dyn ParamSource, name: &str, config: &VisionConfig) -> Self {
        let width = config.hidden_size;
        Self {
            norm1: RmsNorm::new(source, &format!("{name}.norm1"), width, EPS),
            norm2: RmsNorm::new(source, &format!("{name}.norm2"), width, EPS),
            qkv: Linear::with_bias(source, &format!("{name}.attn.qkv"), width, 3 * width),
            proj: Linear::with_bias(source, &format!("{name}.attn.proj"), width, width),
            mlp: Mlp::new(source, &format!("{name}.mlp"), width, config.intermediate_size),
            heads: config.num_heads,
        }
    }

    fn forward(&self, x_pd: &Tensor, rotary: &Rotary, segments: &Segments) -> Tensor {
        let qkv_p3hd = self.qkv.forward(&self.norm1.forward(x_pd)).view([x_pd.size()[0], 3, self.heads, -1]);
        let q_phd = rotary.apply(&qkv_p3hd.select(1, 0));
        let k_phd = rotary.apply(&qkv_p3hd.select(1, 1));
        let out_phd = segments.attend(&q_phd, &k_phd, &qkv_p3hd.select(1, 2), false);
        let x_pd = x_pd + self.proj.forward(&out_phd.flatten(1, 2));
        let mlp_pd = self.mlp.forward(&self.norm2.forward(&x_pd));
        x_pd + mlp_pd
    }
}

/// `down(silu(gate(x)) * up(x))`, with biases.
#[expect(clippy::struct_field_names, reason = "the names of the checkpoint")]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    fn new(source: &mut dyn ParamSource, name: &str, width: i64, inner: i64) -> Self {
        Self {
            gate_proj: Linear::with_bias(source, &format!("{name}.gate_proj"), width, inner),
            up_proj: Linear::with_bias(source, &format!("{name}.up_proj"), width, inner),
            down_proj: Linear::with_bias(source, &format!("{name}.down_proj"), inner, width),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.down_proj.forward(&(self.gate_proj.forward(x).silu() * self.up_proj.forward(x)))
    }
}

/// Joins neighbouring patches: norm, concatenate, two linear maps with GELU between.
struct Merger {
    ln_q: RmsNorm,
    fc1: Linear,
    fc2: Linear,
    merged_width: i64,
}

impl Merger {
    fn new(source: &mut dyn ParamSource, config: &VisionConfig) -> Self {
        let merged_width = config.hidden_size * config.spatial_merge_size.pow(2);
        Self {
            ln_q: RmsNorm::new(source, "visual.merger.ln_q", config.hidden_size, EPS),
            fc1: Linear::with_bias(source, "visual.merger.mlp.0", merged_width, merged_width),
            fc2: Linear::with_bias(source, "visual.merger.mlp.2", merged_width, config.out_hidden_size),
            merged_width,
        }
    }

    fn forward(&self, x_pd: &Tensor) -> Tensor {
        let merged_md = self.ln_q.forward(x_pd).view([-1, self.merged_width]);
        self.fc2.forward(&self.fc1.forward(&merged_md).gelu("none"))
    }
}
