//! Adapter folders as PEFT writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Tensors are called `base_model.model.<module>.lora_A.weight`, the module as in `transformers` since 4.52.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, json};
use tch::Tensor;

use super::{LoraError, LoraSettings, LoraTargets};
use crate::{
    VlmError,
    checkpoint::{CheckpointError, CheckpointFolder, replace_file, write_tensors},
    model::{Family, ParamStore, canonical_name},
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// Initialisations of PEFT that take something off the base's weights, which other programs then do not have.
const CHANGES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Settings of PEFT that change what an adapter computes and that are not computed here; each must be off.
const UNSUPPORTED: [&str; 16] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_to_transform",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// `adapter_config.json`, as far as it decides what plain LoRA computes. Defaults are PEFT's.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    base_model_name_or_path: Option<PathBuf>,
    #[serde(default = "eight")]
    r: i64,
    #[serde(default = "eight")]
    lora_alpha: Number,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Option<LoraTargets>,
    exclude_modules: Option<LoraTargets>,
    #[serde(default)]
    use_rslora: bool,
    bias: Option<String>,
}

/// A number that some write as an integer.
#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
struct Number(f64);

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number as f64)
    }
}

fn eight<T: From<i64>>() -> T {
    8.into()
}

/// Whether a folder holds an adapter and no model of its own.
pub(crate) fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG).exists() && !dir.join("config.json").exists()
}

/// What the adapter of a folder is.
pub(super) fn read_settings(dir: &Path) -> Result<LoraSettings, VlmError> {
    let path = dir.join(CONFIG);
    let (config, json) = read(&path)?;
    let mut problems = Vec::new();
    let mut check = |holds: bool, message: String| {
        if !holds {
            problems.push(message);
        }
    };
    check(
        config.peft_type == "LORA",
        format!("peft_type `{}` is not supported, only LORA", config.peft_type),
    );
    check(config.r > 0, format!("r = {} is not a rank", config.r));
    check((0.0..1.0).contains(&config.lora_dropout), {
        format!("lora_dropout = {} is not a probability below 1", config.lora_dropout)
    });
    check(
        config.bias.as_deref().unwrap_or("none") == "none",
        "bias must be none: biases do not learn".into(),
    );
    check(config.target_modules.is_some(), "target_modules is missing".into());
    for key in UNSUPPORTED {
        check(json.get(key).is_none_or(is_off), format!("{key} = {} is not supported", json[key]));
    }
    let initialization = json["init_lora_weights"].as_str().unwrap_or_default().to_lowercase();
    check(!CHANGES_BASE.iter().any(|name| initialization.starts_with(name)), {
        format!(
            "init_lora_weights = `{initialization}` has changed the weights that the adapter stands on; save it with \
             PEFT's `path_initial_model_for_weight_conversion`, or merge it with PEFT"
        )
    });
    if !problems.is_empty() {
        return Err(LoraError::Unsupported { path: path.display().to_string(), problems }.into());
    }
    Ok(LoraSettings {
        rank: config.r,
        alpha: config.lora_alpha.0,
        dropout: config.lora_dropout,
        targets: config.target_modules.unwrap_or_default(),
        exclude: config.exclude_modules,
        rank_stabilized: config.use_rslora,
    })
}

/// The model that an adapter was made for, as its folder says: a path, or a name on a hub.
pub(crate) fn base_of(dir: &Path) -> Result<PathBuf, VlmError> {
    let path = dir.join(CONFIG);
    read(&path)?.0.base_model_name_or_path.ok_or_else(|| {
        CheckpointError::file(
            path,
            "names no `base_model_name_or_path`; give the base model and the adapter apart",
        )
        .into()
    })
}

fn read(path: &Path) -> Result<(Config, Value), CheckpointError> {
    let error = |e: &dyn std::fmt::Display| CheckpointError::file(path, e);
    let text = reft_core::read_text(path).map_err(|e| error(&e))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| error(&e))?;
    let config = Config::deserialize(&json).map_err(|e| error(&e))?;
    Ok((config, json))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Writes the two files. The layers are named one by one, so that PEFT adapts exactly these, whatever else is called so.
pub(super) fn save(
    dir: &Path,
    base: &Path,
    settings: &LoraSettings,
    params: &ParamStore,
    family: Family,
) -> Result<(), VlmError> {
    fs::create_dir_all(dir).map_err(|e| CheckpointError::file(dir, e))?;
    let modules: Vec<String> = params
        .params()
        .iter()
        .filter_map(|param| Some(family.module_name(param.spec.name.strip_suffix(".lora_A.weight")?)))
        .collect();
    let config = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": settings.rank,
        "rank_pattern": {},
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": settings.rank_stabilized,
    });
    let text = format!("{config:#}\n");
    replace_file(&dir.join(CONFIG), |out| out.write_all(text.as_bytes()))?;
    let tensors: Vec<(String, Tensor)> = params
        .params()
        .iter()
        .map(|param| (format!("{PREFIX}{}", family.module_name(&param.spec.name)), param.tensor.detach()))
        .collect();
    Ok(write_tensors(&dir.join(WEIGHTS), &tensors)?)
}

/// Fills an adapter from a folder; every tensor that is missing, unexpected or of another shape is named at once.
pub(crate) fn load(dir: &Path, params: &ParamStore) -> Result<(), VlmError> {
    let path = dir.join(WEIGHTS);
    if !path.exists() {
        let message =
            "is not there; save the adapter as safetensors (`save_pretrained` of PEFT 0.6 or later)";
        return Err(CheckpointError::file(path, message).into());
    }
    let ours = |name: &str| canonical_name(name.strip_prefix(PREFIX).unwrap_or(name));
    let targets: Vec<(&str, &Tensor)> =
        params.params().iter().map(|param| (param.spec.name.as_str(), &param.tensor)).collect();
    Ok(CheckpointFolder::open_file(&path, ours)?.read_into(&targets, &[])?)
}
