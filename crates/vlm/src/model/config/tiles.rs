//! The vision parts of `config.json` of the families that cut an image into tiles. Defaults are those of `transformers`,
//! which published files rely on.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{TowerConfig, VisionConfig, vision::InternVitConfig};
use crate::model::layers::Activation;

/// A length, or the same one twice, for height and width.
#[derive(Deserialize)]
#[serde(untagged)]
enum Side {
    One(i64),
    Two([i64; 2]),
}

impl Side {
    fn square(&self, key: &str) -> Result<i64, String> {
        match *self {
            Self::One(side) => Ok(side),
            Self::Two([height, width]) if height == width => Ok(height),
            Self::Two(sides) => Err(format!("vision_config: {key} {sides:?} is not square")),
        }
    }
}

/// `vision_config` of SmolVLM2 and Idefics3.
#[derive(Deserialize)]
#[serde(default)]
struct Siglip {
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: i64,
    num_attention_heads: i64,
    num_channels: i64,
    image_size: Side,
    patch_size: Side,
    hidden_act: Activation,
    layer_norm_eps: f64,
}

impl Default for Siglip {
    fn default() -> Self {
        Self {
            hidden_size: 1152,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 16,
            num_channels: 3,
            image_size: Side::One(224),
            patch_size: Side::One(32),
            hidden_act: Activation::GeluTanh,
            layer_norm_eps: 1e-6,
        }
    }
}

/// `vision_config` of InternVL.
#[derive(Deserialize)]
#[serde(default)]
struct InternVit {
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: i64,
    num_attention_heads: i64,
    num_channels: i64,
    image_size: Side,
    patch_size: Side,
    hidden_act: Activation,
    layer_norm_eps: f64,
    attention_bias: bool,
    use_qk_norm: bool,
    norm_type: String,
    use_mask_token: bool,
    use_absolute_position_embeddings: bool,
    use_mean_pooling: bool,
}

impl Default for InternVit {
    fn default() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            num_channels: 3,
            image_size: Side::One(448),
            patch_size: Side::One(14),
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            attention_bias: false,
            use_qk_norm: false,
            norm_type: "layer_norm".into(),
            use_mask_token: false,
            use_absolute_position_embeddings: true,
            use_mean_pooling: true,
        }
    }
}

/// What InternVL's config has beside the tower.
#[derive(Deserialize)]
#[serde(default)]
struct Projector {
    downsample_ratio: f64,
    #[serde(rename = "projector_hidden_act")]
    act: Activation,
    vision_feature_layer: Value,
    vision_feature_select_strategy: String,
}

impl Default for Projector {
    fn default() -> Self {
        Self {
            downsample_ratio: 0.5,
            act: Activation::Gelu,
            vision_feature_layer: Value::from(-1),
            vision_feature_select_strategy: "default".into(),
        }
    }
}

fn part<T: DeserializeOwned + Default>(json: &Value, what: &str) -> Result<T, String> {
    if json.is_null() {
        return Ok(T::default());
    }
    T::deserialize(json).map_err(|e| format!("{what}: {e}"))
}

/// SmolVLM2's tower.
pub(super) fn read_siglip(json: &Value, width: i64) -> Result<VisionConfig, String> {
    let own: Siglip = part(&json["vision_config"], "vision_config")?;
    let patch_size = own.patch_size.square("patch_size")?;
    let image_size = own.image_size.square("image_size")?;
    Ok(VisionConfig {
        depth: own.num_hidden_layers,
        hidden_size: own.hidden_size,
        intermediate_size: own.intermediate_size,
        hidden_act: own.hidden_act,
        num_heads: own.num_attention_heads,
        in_channels: own.num_channels,
        patch_size,
        spatial_merge_size: json["scale_factor"].as_i64().unwrap_or(2),
        temporal_patch_size: 1,
        out_hidden_size: width,
        rope_theta: 0.0,
        tower: TowerConfig::Siglip {
            positions_per_side: image_size / patch_size.max(1),
            eps: own.layer_norm_eps,
        },
    })
}

/// InternVL's tower.
pub(super) fn read_intern_vit(json: &Value, width: i64) -> Result<VisionConfig, String> {
    let own: InternVit = part(&json["vision_config"], "vision_config")?;
    let projector: Projector = part(json, "config")?;
    let rms_norm = match own.norm_type.as_str() {
        "layer_norm" => false,
        "rms_norm" => true,
        other => return Err(format!("vision_config: norm_type `{other}` is not supported")),
    };
    let spatial_merge_size = (1.0 / projector.downsample_ratio) as i64;
    for (key, is_usual) in [
        ("vision_feature_layer", projector.vision_feature_layer == -1),
        ("vision_feature_select_strategy", projector.vision_feature_select_strategy == "default"),
        (
            "downsample_ratio",
            spatial_merge_size > 0 && 1.0 / spatial_merge_size as f64 == projector.downsample_ratio,
        ),
        ("vision_config.use_mask_token", !own.use_mask_token),
        ("vision_config.use_absolute_position_embeddings", own.use_absolute_position_embeddings),
    ] {
        if !is_usual {
            return Err(format!(
                "`{key}` has a value that no published InternVL has, and it is not supported"
            ));
        }
    }
    let patch_size = own.patch_size.square("patch_size")?;
    let image_size = own.image_size.square("image_size")?;
    Ok(VisionConfig {
        depth: own.num_hidden_layers,
        hidden_size: own.hidden_size,
        intermediate_size: own.intermediate_size,
        hidden_act: own.hidden_act,
        num_heads: own.num_attention_heads,
        in_channels: own.num_channels,
        patch_size,
        spatial_merge_size,
        temporal_patch_size: 1,
        out_hidden_size: width,
        rope_theta: 0.0,
        tower: TowerConfig::InternVit(InternVitConfig {
            positions_per_side: image_size / patch_size.max(1),
            eps: own.layer_norm_eps,
            rms_norm,
            attention_bias: own.attention_bias,
            qk_norm: own.use_qk_norm,
            final_norm: !own.use_mean_pooling,
            projector_act: projector.act,
        }),
    })
}
