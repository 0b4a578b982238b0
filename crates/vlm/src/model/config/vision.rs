//! The vision tower's part of `config.json`.

use serde::Deserialize;
use serde_json::Value;

use super::{Family, tiles};
use crate::model::layers::Activation;

/// Shapes and constants of the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: i64,
    /// Width.
    pub hidden_size: i64,
    /// Width inside the MLP.
    pub intermediate_size: i64,
    /// Activation of the MLP.
    pub hidden_act: Activation,
    /// Heads.
    pub num_heads: i64,
    /// Colour channels.
    pub in_channels: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Patches merged along each side.
    pub spatial_merge_size: i64,
    /// Frames in a patch; a still image is repeated.
    pub temporal_patch_size: i64,
    /// Width of the decoder.
    pub out_hidden_size: i64,
    /// Base of the rotary frequencies, where the tower has such.
    pub rope_theta: f64,
    /// What only this family's tower has.
    pub tower: TowerConfig,
}

/// What only one family's tower has.
#[derive(Clone, Debug, PartialEq)]
pub enum TowerConfig {
    /// Qwen2-VL: nothing.
    Qwen2,
    /// Qwen2.5-VL.
    Qwen2_5 {
        /// Side of an attention window in pixels.
        window_size: i64,
        /// Blocks that attend to the whole image; the others attend within windows.
        fullatt_block_indexes: Vec<i64>,
    },
    /// Qwen3-VL, and without DeepStack Qwen3.5.
    Qwen3 {
        /// Entries of the square grid of learned positions.
        num_position_embeddings: i64,
        /// Blocks after which features are handed to the decoder's first layers.
        deepstack_visual_indexes: Vec<i64>,
    },
    /// SmolVLM2: SigLIP (arXiv 2303.15343).
    Siglip {
        /// Learned positions along each side.
        positions_per_side: i64,
        /// Epsilon of its norms.
        eps: f64,
    },
    /// InternVL's ViT.
    InternVit(InternVitConfig),
}

/// What only InternVL's tower has.
#[derive(Clone, Debug, PartialEq)]
pub struct InternVitConfig {
    /// Learned positions along each side: of the patches of a tile.
    pub positions_per_side: i64,
    /// Epsilon of its norms.
    pub eps: f64,
    /// Whether blocks have RMS norms instead of layer norms.
    pub rms_norm: bool,
    /// Whether queries, keys and values have biases.
    pub attention_bias: bool,
    /// Whether queries and keys are normed, over their whole width.
    pub qk_norm: bool,
    /// Whether a layer norm follows the last block.
    pub final_norm: bool,
    /// Activation of the projector.
    pub projector_act: Activation,
}

/// What all towers of Qwen's have in the file.
#[derive(Deserialize)]
struct Common {
    depth: i64,
    num_heads: i64,
    #[serde(default = "three")]
    in_channels: i64,
    patch_size: i64,
    #[serde(default = "two")]
    spatial_merge_size: i64,
    #[serde(default = "two")]
    temporal_patch_size: i64,
    hidden_act: Option<Activation>,
}

/// Qwen2-VL calls its own width `embed_dim`, and the decoder's `hidden_size`.
#[derive(Deserialize)]
struct Qwen2 {
    embed_dim: i64,
    hidden_size: i64,
    #[serde(default = "four")]
    mlp_ratio: i64,
}

#[derive(Deserialize)]
struct Qwen2_5 {
    hidden_size: i64,
    intermediate_size: i64,
    out_hidden_size: i64,
    window_size: i64,
    fullatt_block_indexes: Vec<i64>,
}

#[derive(Deserialize)]
struct Qwen3 {
    hidden_size: i64,
    intermediate_size: i64,
    out_hidden_size: i64,
    num_position_embeddings: i64,
    /// Qwen3.5 has none.
    deepstack_visual_indexes: Option<Vec<i64>>,
}

fn two() -> i64 {
    2
}

fn three() -> i64 {
    3
}

fn four() -> i64 {
    4
}

impl VisionConfig {
    /// Sides of a view in pixels, where the tower takes one size only.
    pub fn view_side(&self) -> Option<i64> {
        match &self.tower {
            TowerConfig::InternVit(own) => Some(own.positions_per_side * self.patch_size),
            _ => None,
        }
    }

    /// Features that the decoder gets of each image token: its embedding, and what joins behind layers.
    pub(crate) fn features_per_token(&self) -> i64 {
        match &self.tower {
            TowerConfig::Qwen2
            | TowerConfig::Qwen2_5 { .. }
            | TowerConfig::Siglip { .. }
            | TowerConfig::InternVit(_) => 1,
            TowerConfig::Qwen3 { deepstack_visual_indexes, .. } => 1 + deepstack_visual_indexes.len() as i64,
        }
    }

    /// Reads `vision_config` and what stands beside it; `width` is the decoder's.
    pub(super) fn read(json: &Value, family: Family, width: i64) -> Result<Self, String> {
        let vision = &json["vision_config"];
        match family {
            Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Qwen3Vl | Family::Qwen3_5 => {
                Self::read_qwen(vision, family)
            }
            Family::SmolVlm | Family::Idefics3 => tiles::read_siglip(json, width),
            Family::InternVl => tiles::read_intern_vit(json, width),
        }
    }

    fn read_qwen(json: &Value, family: Family) -> Result<Self, String> {
        let error = |e: serde_json::Error| format!("vision_config: {e}");
        let common = Common::deserialize(json).map_err(error)?;
        let (widths, default_act, tower) = match family {
            Family::Qwen2Vl => {
                let own = Qwen2::deserialize(json).map_err(error)?;
                let widths = [own.embed_dim, own.embed_dim * own.mlp_ratio, own.hidden_size];
                (widths, Activation::QuickGelu, TowerConfig::Qwen2)
            }
            Family::Qwen2_5Vl => {
                let own = Qwen2_5::deserialize(json).map_err(error)?;
                let tower = TowerConfig::Qwen2_5 {
                    window_size: own.window_size,
                    fullatt_block_indexes: own.fullatt_block_indexes,
                };
                ([own.hidden_size, own.intermediate_size, own.out_hidden_size], Activation::Silu, tower)
            }
            _ => {
                let own = Qwen3::deserialize(json).map_err(error)?;
                let deepstack = match family {
                    Family::Qwen3_5 => Vec::new(),
                    _ => own
                        .deepstack_visual_indexes
                        .ok_or("vision_config: missing field `deepstack_visual_indexes`")?,
                };
                let tower = TowerConfig::Qwen3 {
                    num_position_embeddings: own.num_position_embeddings,
                    deepstack_visual_indexes: deepstack,
                };
                ([own.hidden_size, own.intermediate_size, own.out_hidden_size], Activation::GeluTanh, tower)
            }
        };
        Ok(Self {
            depth: common.depth,
            hidden_size: widths[0],
            intermediate_size: widths[1],
            hidden_act: common.hidden_act.unwrap_or(default_act),
            num_heads: common.num_heads,
            in_channels: common.in_channels,
            patch_size: common.patch_size,
            spatial_merge_size: common.spatial_merge_size,
            temporal_patch_size: common.temporal_patch_size,
            out_hidden_size: widths[2],
            rope_theta: json["rope_parameters"]["rope_theta"].as_f64().unwrap_or(10_000.0),
            tower,
        })
    }

    /// Numbers of one flattened patch.
    pub(crate) fn patch_dim(&self) -> i64 {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Width of a merged patch before it is brought to the decoder's.
    pub(crate) fn merged_width(&self) -> i64 {
        self.hidden_size * self.spatial_merge_size.pow(2)
    }

    pub(super) fn problems(&self, decoder_layers: i64) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, message: String| {
            if !ok {
                problems.push(message);
            }
        };
        let (width, heads) = (self.hidden_size, self.num_heads);
        for (name, value) in [
            ("depth", self.depth),
            ("MLP width", self.intermediate_size),
            ("in_channels", self.in_channels),
            ("patch_size", self.patch_size),
            ("spatial_merge_size", self.spatial_merge_size),
            ("temporal_patch_size", self.temporal_patch_size),
        ] {
            check(value > 0, format!("vision {name} {value} is not positive"));
        }
        let head_step = match self.tower {
            TowerConfig::Siglip { .. } | TowerConfig::InternVit(_) => 1,
            // Rotary angles turn pairs by rows and by columns.
            _ => 4,
        };
        check(width > 0 && heads > 0 && width % (head_step * heads.max(1)) == 0, {
            format!("vision width {width} over num_heads {heads} is not a multiple of {head_step}")
        });
        match &self.tower {
            TowerConfig::Qwen2 => {}
            TowerConfig::Siglip { positions_per_side: n, .. }
            | TowerConfig::InternVit(InternVitConfig { positions_per_side: n, .. }) => {
                check(*n > 0, "vision image_size is smaller than one patch".into());
            }
            TowerConfig::Qwen2_5 { window_size, .. } => {
                check(*window_size >= self.patch_size * self.spatial_merge_size, {
                    format!("window_size {window_size} is smaller than one merged patch")
                });
            }
            TowerConfig::Qwen3 { num_position_embeddings: n, deepstack_visual_indexes: taken } => {
                check(*n > 0, "num_position_embeddings must be positive".into());
                check(taken.iter().all(|&block| (0..self.depth).contains(&block)), {
                    format!("deepstack_visual_indexes {taken:?} name blocks beyond depth {}", self.depth)
                });
                check(taken.len() as i64 <= decoder_layers, {
                    format!("deepstack_visual_indexes {taken:?} are more than the decoder's layers")
                });
            }
        }
        problems
    }
}
