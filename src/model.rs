//! Opening a checkpoint as a recipe says.

use std::path::Path;

use reft_config::{Device, Dtype, LoraConfig, LoraLayers, ModelConfig, TrainableConfig};
use reft_core::{Seed, StageError};
use reft_vlm::{
    Vlm, VlmOptions, cuda,
    lora::{LoraOption, LoraSettings, LoraTargets},
};

use crate::{Error, hub};

/// The model at a path of this machine, fetched where it is named by its place on the hub.
pub(crate) fn fetched(config: &ModelConfig) -> Result<ModelConfig, Error> {
    Ok(ModelConfig { path: hub::model_path(&config.path)?, ..config.clone() })
}

/// Opens the checkpoint of a recipe on its device.
pub fn open(config: &ModelConfig) -> Result<Vlm, Error> {
    open_on(config, device(config.device, 0)?)
}

/// Opens the checkpoint of a recipe on a device.
pub(crate) fn open_on(config: &ModelConfig, device: tch::Device) -> Result<Vlm, Error> {
    let options = VlmOptions {
        kind: match config.dtype {
            Dtype::Fp32 => tch::Kind::Float,
            Dtype::Bf16 => tch::Kind::BFloat16,
            Dtype::Fp16 => tch::Kind::Half,
        },
        device,
        min_pixels: config.min_pixels,
        max_pixels: config.max_pixels,
        init: config.init.map(|init| Seed::new(init.seed)),
        lora: config.lora.as_ref().map(adapter).transpose()?,
        merge: config.lora.as_ref().is_some_and(|lora| lora.merge),
        feature_memory: config.feature_memory_mib.saturating_mul(1 << 20),
        kv_memory: config.kv_memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
    };
    Ok(Vlm::open(&hub::model_path(&config.path)?, options)?)
}

fn adapter(config: &LoraConfig) -> Result<LoraOption, Error> {
    let seed = Seed::new(config.seed.unwrap_or_default());
    if let Some(dir) = &config.adapter {
        return Ok(LoraOption::Folder { dir: hub::model_path(dir)?, dropout: config.dropout, seed });
    }
    let layers = |layers: &LoraLayers| match layers {
        LoraLayers::Pattern(pattern) => LoraTargets::Pattern(pattern.clone()),
        LoraLayers::Endings(names) => LoraTargets::Endings(names.clone()),
    };
    let default = LoraSettings::default();
    let settings = LoraSettings {
        rank: config.rank.map_or(default.rank, i64::from),
        alpha: config.alpha.unwrap_or(default.alpha),
        dropout: config.dropout.unwrap_or(default.dropout),
        targets: config.targets.as_ref().map_or(default.targets, layers),
        exclude: config.exclude.as_ref().map(layers),
        ..default
    };
    Ok(LoraOption::New { settings, seed })
}

/// That something learns: an adapter has layers in the parts that are switched on.
pub(crate) fn check_trainable(
    policy: &Vlm,
    phase: &str,
    trainable: TrainableConfig,
) -> Result<(), StageError> {
    if policy.learned().buffers().keys().any(|key| reft_train::learns(trainable, key.part)) {
        return Ok(());
    }
    let message = "no adapted layer lies in a part that learns; widen `model.lora.targets` or `trainable`";
    Err(StageError::other(format!("phase `{phase}`"), message))
}

/// Writes the checkpoint that a base and an adapter make together.
pub fn merge(config: &ModelConfig, output: &Path, max_shard_bytes: u64) -> Result<(), Error> {
    let policy = open(config)?;
    Ok(policy.save_sharded(output, policy.kind(), max_shard_bytes)?)
}

/// The device of a recipe, where it is a GPU the one with this index; loads libtorch's CUDA half when it is there.
pub fn device(device: Device, index: usize) -> Result<tch::Device, Error> {
    if device == Device::Cpu {
        return Ok(tch::Device::Cpu);
    }
    let status = cuda::load();
    if tch::Cuda::is_available() {
        return Ok(tch::Device::Cuda(index));
    }
    match device {
        Device::Cuda => Err(Error::NoCuda(status.to_string())),
        Device::Auto | Device::Cpu => Ok(tch::Device::Cpu),
    }
}

/// Sets how many CPU threads libtorch computes with; 0 takes all cores.
pub fn set_threads(threads: usize) {
    let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if threads == 0 { all() } else { threads };
    tch::set_num_threads(threads as i32);
    // The pool of everything else: kernels, gradients, scoring. It keeps its size once it runs.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}
