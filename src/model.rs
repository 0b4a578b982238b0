//! Opening a checkpoint as a recipe says.

use reft_config::{Device, Dtype, ModelConfig};
use reft_core::Seed;
use reft_vlm::{Vlm, VlmOptions, cuda};

use crate::Error;

/// Opens the checkpoint of a recipe on its device.
pub fn open(config: &ModelConfig) -> Result<Vlm, Error> {
    let options = VlmOptions {
        kind: match config.dtype {
            Dtype::Fp32 => tch::Kind::Float,
            Dtype::Bf16 => tch::Kind::BFloat16,
            Dtype::Fp16 => tch::Kind::Half,
        },
        device: device(config.device)?,
        min_pixels: config.min_pixels,
        max_pixels: config.max_pixels,
        init: config.init.map(|init| Seed::new(init.seed)),
    };
    Ok(Vlm::open(&config.path, options)?)
}

/// The device of a recipe; loads libtorch's CUDA half when it is there.
pub fn device(device: Device) -> Result<tch::Device, Error> {
    if device == Device::Cpu {
        return Ok(tch::Device::Cpu);
    }
    let status = cuda::load();
    if tch::Cuda::is_available() {
        return Ok(tch::Device::Cuda(0));
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
}
