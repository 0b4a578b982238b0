//! The tower of Qwen3-VL (arXiv 2511.21631, section 2): learned positions resampled to each image's grid on top of the
//! rotary ones, and features of several blocks for the decoder's first layers (DeepStack, arXiv 2406.04334).
//!
//! Axes in tensor names: p patch, d width, 4 corner of a cell in the grid of learned positions.

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    blocks::{Blocks, PatchPositions},
    parts::{EPS, Merger, MergerNames, PatchEmbed, image_segments, patch_places, rotary, rotary_angles},
    plain_block::PlainBlock,
};
use crate::model::{
    VisionConfig,
    layers::{Bias, LayerNorm, Norm},
    params::ParamSource,
};

pub(super) struct Qwen3Tower {
    patch_embed: PatchEmbed,
    positions: LearnedPositions,
    blocks: Vec<PlainBlock>,
    merger: Merger,
    /// Block that each merger listens to, and the merger.
    deepstack: Vec<(i64, Merger)>,
    config: VisionConfig,
}

impl Qwen3Tower {
    pub(super) fn new(
        source: &mut dyn ParamSource,
        config: &VisionConfig,
        n_positions: i64,
        deepstack_blocks: &[i64],
    ) -> Self {
        let (width, merged_width) = (config.hidden_size, config.merged_width());
        let merger = |source: &mut dyn ParamSource, name: &str, norm_width: i64| {
            let norm = Norm::Layer(LayerNorm::new(source, &format!("{name}.norm"), norm_width, EPS));
            let names = ["linear_fc1", "linear_fc2"].map(|linear| format!("{name}.{linear}"));
            Merger::new(
                source,
                norm,
                norm_width,
                &MergerNames::of_qwen([&names[0], &names[1]], config),
                config,
            )
        };
        let linears = ["linear_fc1", "linear_fc2"];
        Self {
            patch_embed: PatchEmbed::of_video(source, config, Bias::Yes),
            positions: LearnedPositions::new(source, config, n_positions),
            blocks: (0..config.depth)
                .map(|i| PlainBlock::of_qwen(source, &format!("visual.blocks.{i}"), linears, config))
                .collect(),
            merger: merger(source, "visual.merger", width),
            // These norm the concatenated patches.
            deepstack: deepstack_blocks
                .iter()
                .enumerate()
                .map(|(n, &block)| {
                    (block, merger(source, &format!("visual.deepstack_merger_list.{n}"), merged_width))
                })
                .collect(),
            config: config.clone(),
        }
    }
}

impl Blocks for Qwen3Tower {
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

    fn embed(&self, pixels_pd: &Tensor, grids: &[ImageGrid], _positions: &PatchPositions) -> Tensor {
        let x_pd = self.patch_embed.forward(pixels_pd);
        &x_pd + self.positions.forward(grids, pixels_pd.device()).to_kind(x_pd.kind())
    }

    fn block(&self, block: usize, x_pd: &Tensor, positions: &PatchPositions) -> Tensor {
        self.blocks[block].forward(x_pd, positions.rotary.as_ref(), &positions.within_images)
    }

    fn tap(&self, block: usize, x_pd: &Tensor) -> Option<Tensor> {
        let listens = |(heard, _): &&(i64, Merger)| *heard == block as i64;
        self.deepstack.iter().find(listens).map(|(_, merger)| merger.forward(x_pd))
    }

    fn merge(&self, x_pd: &Tensor, _positions: &PatchPositions) -> Tensor {
        self.merger.forward(x_pd)
    }
}

/// A square grid of learned positions, resampled bilinearly with corners aligned.
struct LearnedPositions {
    pos_embed: Tensor,
    side: usize,
    merge: usize,
}

impl LearnedPositions {
    fn new(source: &mut dyn ParamSource, config: &VisionConfig, n: i64) -> Self {
        Self {
            pos_embed: source.param("visual.pos_embed.weight".into(), &[n, config.hidden_size]),
            side: n.unsigned_abs().isqrt() as usize,
            merge: config.spatial_merge_size as usize,
        }
    }

    /// `[p, width]` in fp32.
    fn forward(&self, grids: &[ImageGrid], device: Device) -> Tensor {
        let (mut entries, mut weights) = (Vec::new(), Vec::new());
        for &grid in grids {
            for [row, column] in patch_places(grid, self.merge) {
                let (rows, columns) =
                    (taps(row, grid.rows, self.side), taps(column, grid.columns, self.side));
                for (r, row_weight) in rows {
                    for (c, column_weight) in columns {
                        entries.push((r * self.side + c) as i64);
                        weights.push(row_weight * column_weight);
                    }
                }
            }
        }
        let entries = Tensor::from_slice(&entries).to_device(device);
        let weights_p4 = Tensor::from_slice(&weights).to_device(device).view([-1, 4, 1]);
        let corners_p4d = self.pos_embed.index_select(0, &entries).view([-1, 4, self.pos_embed.size()[1]]);
        (corners_p4d * weights_p4).sum_dim_intlist(1, false, Kind::Float)
    }
}

/// The two grid lines beside position `index` of `n`, with their weights; the first and last positions are grid lines.
/// In fp32, step by step as the reference computes it.
fn taps(index: usize, n: usize, side: usize) -> [(usize, f32); 2] {
    let position = index as f32 * (side - 1) as f32 / (n - 1).max(1) as f32;
    let line = position.floor();
    let fraction = position - line;
    let line = line as usize;
    [(line.min(side - 1), 1.0 - fraction), ((line + 1).min(side - 1), 1.0 - (fraction - 1.0).abs())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_between_grid_lines_by_hand() {
        // Four positions over three lines: 0, 2/3, 4/3, 2.
        let expected = [
            [(0, 1.0), (1, 0.0)],
            [(0, 1.0 / 3.0), (1, 2.0 / 3.0)],
            [(1, 2.0 / 3.0), (2, 1.0 / 3.0)],
            [(2, 1.0), (2, 0.0)],
        ];
        for (index, lines) in expected.into_iter().enumerate() {
            for ((line, weight), (found_line, found_weight)) in lines.into_iter().zip(taps(index, 4, 3)) {
                assert_eq!(line, found_line, "position {index}");
                assert!((weight - found_weight as f64).abs() < 1e-6, "position {index}: {found_weight}");
            }
        }
        assert_eq!(taps(0, 1, 3), [(0, 1.0), (1, 0.0)], "a single row lies on the first line");
    }
}
