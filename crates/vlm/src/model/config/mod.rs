//! `config.json` of a checkpoint, in the layouts that are in circulation.
//!
//! Older files keep the decoder's fields at the top level, newer ones in `text_config`; the rotary settings are
//! `rope_scaling` or `rope_parameters`. All read to the same [`VlmConfig`].

mod family;
mod text;
mod tiles;
mod vision;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::positions::ImagePositions;

pub use family::{Family, canonical_name};
pub use text::{AttentionBias, LinearAttention, TextConfig};
pub use vision::{InternVitConfig, TowerConfig, VisionConfig};

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
    #[error(
        "`{}`: model_type `{found}` is not supported (supported: {}){}",
        path.display(),
        Family::ALL.map(Family::model_type).join(", "),
        what_to_take(found)
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Its `model_type`.
        found: String,
    },
    /// Weights that are packed.
    #[error(
        "`{}`: the weights are quantised (`quantization_config`: {method}), and only plain ones are read; give the \
         checkpoint that was quantised",
        path.display()
    )]
    Quantized {
        /// The file.
        path: PathBuf,
        /// By what.
        method: String,
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

/// Shapes and constants of the whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct VlmConfig {
    /// Which towers the model has.
    pub family: Family,
    /// The language model.
    pub text: TextConfig,
    /// The vision tower and its merger.
    pub vision: VisionConfig,
    /// Id of the token that stands for one feature of an image.
    pub image_token_id: i64,
    /// Whether the head is the embedding matrix.
    pub tie_word_embeddings: bool,
}

impl VlmConfig {
    /// Reads `dir/config.json`.
    pub fn open(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("config.json");
        let file_error = |message: String| ConfigError::File { path: path.clone(), message };
        let text = reft_core::read_text(&path).map_err(|e| file_error(e.to_string()))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| file_error(e.to_string()))?;

        if let Some(method) = quantization(&json) {
            return Err(ConfigError::Quantized { path, method });
        }
        let found = json["model_type"].as_str().unwrap_or("(none)");
        let Some(family) = Family::from_model_type(found) else {
            return Err(ConfigError::Unsupported { path, found: found.into() });
        };
        let config = Self::read(&json, family).map_err(file_error)?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Inconsistent { path, problems }) }
    }

    fn read(json: &Value, family: Family) -> Result<Self, String> {
        let text_json = json.get("text_config").filter(|nested| nested.is_object()).unwrap_or(json);
        let is_tied = |json: &Value| json["tie_word_embeddings"] == true;
        let text = TextConfig::read(text_json, family)?;
        Ok(Self {
            family,
            vision: VisionConfig::read(json, family, text.hidden_size)?,
            text,
            image_token_id: json["image_token_id"].as_i64().ok_or("`image_token_id` is missing")?,
            tie_word_embeddings: match family {
                // Files of transformers 4.5x keep the flag with the decoder.
                Family::Qwen2Vl | Family::Qwen2_5Vl => is_tied(json) || is_tied(text_json),
                Family::Qwen3Vl | Family::Qwen3_5 | Family::SmolVlm | Family::Idefics3 => is_tied(json),
                // A default of `transformers`; a head that is stored and differs counts all the same.
                Family::InternVl => json["tie_word_embeddings"] != false,
            },
        })
    }

    /// How positions run over images.
    pub fn image_positions(&self) -> ImagePositions {
        match self.family {
            Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Qwen3Vl | Family::Qwen3_5 => {
                ImagePositions::Spread { merge: self.vision.spatial_merge_size as usize }
            }
            Family::SmolVlm | Family::Idefics3 | Family::InternVl => ImagePositions::Linear,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.text.problems();
        problems.extend(self.vision.problems(self.text.num_hidden_layers));
        let (out, width) = (self.vision.out_hidden_size, self.text.hidden_size);
        if out != width {
            problems.push(format!(
                "the vision tower's output width {out} is not the decoder's hidden_size {width}"
            ));
        }
        problems
    }
}

/// What to take instead of a folder that is not supported, where that is known.
fn what_to_take(model_type: &str) -> &'static str {
    match model_type {
        "internvl_chat" => {
            "; this folder runs code of its own: take the same model in the layout of `transformers`, whose name ends \
             with `-hf`, or convert it with `convert_internvl_weights_to_hf.py` of `transformers`"
        }
        "qwen2_vl_moe" | "qwen3_vl_moe" | "qwen3_5_moe" => "; take a dense model of the family",
        _ => "",
    }
}

/// How the weights of a checkpoint are packed; none where they are plain numbers.
fn quantization(json: &Value) -> Option<String> {
    let settings =
        [json, &json["text_config"]].into_iter().find_map(|json| json["quantization_config"].as_object())?;
    let method = settings.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
    let bits = [("load_in_4bit", "4 bits"), ("load_in_8bit", "8 bits")];
    let bits = bits.iter().find(|(key, _)| settings.get(*key).is_some_and(|value| value == true));
    Some(bits.map_or_else(|| method.to_owned(), |(_, bits)| format!("{method}, {bits}")))
}
