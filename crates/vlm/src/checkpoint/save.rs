//! Writing a Hugging Face folder that other tools load.

use std::{fs, io::Write as _, path::Path};

use serde_json::Value;
use tch::{Kind, Tensor};

use super::{
    CheckpointError,
    file::{replace_file, write_converted},
};

/// Files beside the weights that are copied from the checkpoint a model was loaded from.
pub const COMPANION_FILES: [&str; 13] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Writes `tensors` as `dir/model.safetensors` in the number type `kind`, with the other files of `source` beside it.
/// `dir` is made when it is not there; the weights come last, so a folder that has them is complete.
pub fn save_folder(
    dir: &Path,
    tensors: &[(String, Tensor)],
    kind: Kind,
    source: &Path,
) -> Result<(), CheckpointError> {
    fs::create_dir_all(dir).map_err(|e| CheckpointError::file(dir, e))?;
    for name in COMPANION_FILES {
        let (from, to) = (source.join(name), dir.join(name));
        if !from.exists() {
            continue;
        }
        let mut bytes = fs::read(&from).map_err(|e| CheckpointError::file(&from, e))?;
        if name == "config.json" {
            bytes = with_dtype(&bytes, kind).map_err(|e| CheckpointError::file(&from, e))?;
        }
        replace_file(&to, |out| out.write_all(&bytes))?;
    }
    write_converted(&dir.join("model.safetensors"), tensors, Some(kind))
}

/// The config with the number type of the weights beside it, under the keys that it already uses.
fn with_dtype(config: &[u8], kind: Kind) -> Result<Vec<u8>, serde_json::Error> {
    let name = match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        _ => "float32",
    };
    let mut config: Value = serde_json::from_slice(config)?;
    let set = |object: &mut Value| {
        for key in ["dtype", "torch_dtype"] {
            if let Some(value) = object.get_mut(key) {
                *value = name.into();
            }
        }
    };
    set(&mut config);
    for part in ["text_config", "vision_config"] {
        if let Some(object) = config.get_mut(part) {
            set(object);
        }
    }
    let mut bytes = serde_json::to_vec_pretty(&config)?;
    bytes.push(b'\n');
    Ok(bytes)
}
