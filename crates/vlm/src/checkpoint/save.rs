//! Writing a Hugging Face folder that other tools load.

use std::{fs, io::Write as _, path::Path};

use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::{
    CheckpointError,
    file::{replace_file, write_changed},
    folder::{INDEX, SINGLE},
};

/// Files beside the weights that are copied from the checkpoint a model was loaded from.
pub(crate) const COMPANION_FILES: [&str; 13] = [
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

/// The largest shard in bytes, unless said otherwise: 5 GB, as `save_pretrained` of `transformers` 4 writes them.
pub(crate) const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// How weights are written.
pub struct SaveOptions<'a> {
    /// Number type in the files.
    pub kind: Kind,
    /// Weights of more bytes than this are written as several files with an index. A tensor is never split.
    pub max_shard_bytes: u64,
    /// Sees each tensor by its name when its turn comes, and returns what is written: of the same shape.
    pub change: &'a dyn Fn(&str, &Tensor) -> Tensor,
}

impl SaveOptions<'_> {
    /// Tensors as they are, in shards of 5 GB at most.
    pub fn new(kind: Kind) -> Self {
        Self { kind, max_shard_bytes: MAX_SHARD_BYTES, change: &|_, tensor| tensor.shallow_clone() }
    }
}

/// Writes `tensors` as `dir/model.safetensors`, or as shards with an index, with the other files of `source` beside them.
///
/// `dir` is made when it is not there. The file that makes the weights count comes last: the only one, or the index. Then
/// weights of an earlier save that no longer count are removed.
pub fn save_folder(
    dir: &Path,
    tensors: &[(String, Tensor)],
    options: &SaveOptions<'_>,
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
            bytes = with_dtype(&bytes, options.kind).map_err(|e| CheckpointError::file(&from, e))?;
        }
        replace_file(&to, |out| out.write_all(&bytes))?;
    }
    let write = |name: &str, tensors: &[(String, Tensor)]| {
        write_changed(&dir.join(name), tensors, Some(options.kind), options.change)
    };
    let shards = split(tensors, options);
    if let [only] = shards[..] {
        write(SINGLE, only)?;
        return remove_others(dir, &[SINGLE.to_owned()]);
    }
    let mut names: Vec<String> =
        (1..=shards.len()).map(|i| format!("model-{i:05}-of-{:05}.safetensors", shards.len())).collect();
    for (name, shard) in names.iter().zip(&shards) {
        write(name, shard)?;
    }
    let index = index(&shards, &names, options.kind);
    replace_file(&dir.join(INDEX), |out| out.write_all(format!("{index:#}\n").as_bytes()))?;
    names.push(INDEX.to_owned());
    remove_others(dir, &names)
}

fn size(tensor: &Tensor, kind: Kind) -> u64 {
    (tensor.numel() * kind.elt_size_in_bytes()) as u64
}

/// Runs of tensors that fit a shard each; at least one run.
fn split<'a>(tensors: &'a [(String, Tensor)], options: &SaveOptions<'_>) -> Vec<&'a [(String, Tensor)]> {
    let (mut shards, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (i, (_, tensor)) in tensors.iter().enumerate() {
        let size = size(tensor, options.kind);
        if i > first && bytes + size > options.max_shard_bytes {
            shards.push(&tensors[first..i]);
            (first, bytes) = (i, 0);
        }
        bytes += size;
    }
    shards.push(&tensors[first..]);
    shards
}

/// `model.safetensors.index.json` as `transformers` writes it.
fn index(shards: &[&[(String, Tensor)]], names: &[String], kind: Kind) -> Value {
    let all = || shards.iter().copied().flatten().map(|(_, tensor)| tensor);
    let map: serde_json::Map<String, Value> = shards
        .iter()
        .zip(names)
        .flat_map(|(shard, file)| shard.iter().map(|(name, _)| (name.clone(), file.as_str().into())))
        .collect();
    json!({
        "metadata": {
            "total_parameters": all().map(Tensor::numel).sum::<usize>(),
            "total_size": all().map(|tensor| size(tensor, kind)).sum::<u64>(),
        },
        "weight_map": map,
    })
}

/// Removes weights and an index of an earlier save.
fn remove_others(dir: &Path, keep: &[String]) -> Result<(), CheckpointError> {
    let error = |e: std::io::Error| CheckpointError::file(dir, e);
    for entry in fs::read_dir(dir).map_err(error)? {
        let name = entry.map_err(error)?.file_name().to_string_lossy().into_owned();
        let is_shard = name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors");
        if (is_shard || name == SINGLE || name == INDEX) && !keep.contains(&name) {
            fs::remove_file(dir.join(&name)).map_err(|e| CheckpointError::file(dir.join(&name), e))?;
        }
    }
    Ok(())
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
