//! `config.json` of a Qwen2.5-VL checkpoint, in the layouts that are in circulation.
//!
//! Older files keep the decoder's fields at the top level, newer ones in `text_config`; the rotary settings are
//! `rope_scaling` or `rope_parameters`. Both read to the same [`VlmConfig`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable or not JSON.
    #[error("`{}`: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// An architecture that this build does not have.
    #[error("`{}`: model_type `{found}` is not supported (supported: {})", path.display(), SUPPORTED.join(", "))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Its `model_type`.
        found: String,
    },
    /// Numbers that contradict each other.
    #[error("`{}`: {}", path.display(), problems.join("; "))]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// All contradictions.
        problems: Vec<String>,
    },
}

/// Architectures that load.
pub const SUPPORTED: [&str; 1] = ["qwen2_5_vl"];

/// Shapes and constants of the whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct VlmConfig {
    /// The language model.
    pub text: TextConfig,
    /// The vision tower and its merger.
    pub vision: VisionConfig,
    /// Id of `<|image_pad|>`: stands for one merged patch.
    pub image_token_id: i64,
    /// Whether the head is the embedding matrix.
    pub tie_word_embeddings: bool,
}

/// Shapes and constants of the decoder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TextConfig {
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// Width.
    pub hidden_size: i64,
    /// Width inside the MLP.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Query heads.
    pub num_attention_heads: i64,
    /// Key and value heads; query heads share them in equal groups.
    pub num_key_value_heads: i64,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMS norm of the decoder.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(skip)]
    pub rope_theta: f64,
    /// How many rotary frequencies turn with time, height and width.
    #[serde(skip)]
    pub mrope_section: [i64; 3],
}

impl TextConfig {
    /// Width of one head.
    pub fn head_dim(&self) -> i64 {
        self.hidden_size / self.num_attention_heads
    }
}

/// Shapes and constants of the vision tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: i64,
    /// Width.
    pub hidden_size: i64,
    /// Width inside the MLP.
    pub intermediate_size: i64,
    /// Heads.
    pub num_heads: i64,
    /// Colour channels.
    #[serde(default = "three", alias = "in_chans")]
    pub in_channels: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Patches merged along each side.
    pub spatial_merge_size: i64,
    /// Frames in a patch; a still image is repeated.
    pub temporal_patch_size: i64,
    /// Side of an attention window in pixels.
    pub window_size: i64,
    /// Width of the decoder.
    pub out_hidden_size: i64,
    /// Blocks that attend to the whole image; the others attend within windows.
    pub fullatt_block_indexes: Vec<i64>,
}

impl VisionConfig {
    /// Numbers of one flattened patch.
    pub fn patch_dim(&self) -> i64 {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}

fn default_eps() -> f64 {
    1e-6
}

fn three() -> i64 {
    3
}

impl VlmConfig {
    /// Reads `dir/config.json`.
    pub fn open(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("config.json");
        let file_error = |message: String| ConfigError::File { path: path.clone(), message };
        let text = std::fs::read_to_string(&path).map_err(|e| file_error(e.to_string()))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| file_error(e.to_string()))?;

        let found = json["model_type"].as_str().unwrap_or("(none)");
        if !SUPPORTED.contains(&found) {
            return Err(ConfigError::Unsupported { path, found: found.into() });
        }
        let text_json = json.get("text_config").unwrap_or(&json);
        let mut text =
            TextConfig::deserialize(text_json).map_err(|e| file_error(format!("text config: {e}")))?;
        let vision = VisionConfig::deserialize(&json["vision_config"])
            .map_err(|e| file_error(format!("vision_config: {e}")))?;

        let rope = ["rope_parameters", "rope_scaling"].map(|key| &text_json[key]);
        text.rope_theta = rope
            .iter()
            .find_map(|r| r["rope_theta"].as_f64())
            .or_else(|| text_json["rope_theta"].as_f64())
            .ok_or_else(|| file_error("`rope_theta` is missing".into()))?;
        text.mrope_section = rope
            .iter()
            .find_map(|r| serde_json::from_value(r["mrope_section"].clone()).ok())
            .ok_or_else(|| file_error("`mrope_section` (three numbers) is missing".into()))?;
        let image_token_id = json["image_token_id"]
            .as_i64()
            .ok_or_else(|| file_error("`image_token_id` is missing".into()))?;
        let tie_word_embeddings = json["tie_word_embeddings"]
            .as_bool()
            .or_else(|| text_json["tie_word_embeddings"].as_bool())
            .unwrap_or(false);

        let config = Self { text, vision, image_token_id, tie_word_embeddings };
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Inconsistent { path, problems }) }
    }

    fn problems(&self) -> Vec<String> {
        let (t, v) = (&self.text, &self.vision);
        let mut problems = Vec::new();
        let mut check = |ok: bool, message: String| {
            if !ok {
                problems.push(message);
            }
        };
        check(t.num_attention_heads > 0 && t.hidden_size % t.num_attention_heads == 0, {
            format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                t.hidden_size, t.num_attention_heads
            )
        });
        check(t.num_key_value_heads > 0 && t.num_attention_heads % t.num_key_value_heads == 0, {
            format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                t.num_attention_heads, t.num_key_value_heads
            )
        });
        check(
            t.num_attention_heads > 0
                && t.mrope_section.iter().sum::<i64>() * 2 == t.hidden_size / t.num_attention_heads.max(1),
            format!("mrope_section {:?} does not add up to half a head", t.mrope_section),
        );
        check(
            v.num_heads > 0
                && v.hidden_size % v.num_heads.max(1) == 0
                && v.hidden_size / v.num_heads.max(1) % 4 == 0,
            {
                format!(
                    "vision hidden_size {} over num_heads {} is not a multiple of 4",
                    v.hidden_size, v.num_heads
                )
            },
        );
        check(v.out_hidden_size == t.hidden_size, {
            format!(
                "vision out_hidden_size {} is not the decoder's hidden_size {}",
                v.out_hidden_size, t.hidden_size
            )
        });
        check(v.window_size >= v.patch_size * v.spatial_merge_size, {
            format!("window_size {} is smaller than one merged patch", v.window_size)
        });
        problems
    }
}
