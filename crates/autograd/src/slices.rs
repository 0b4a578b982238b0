//! The numbers of a tensor as a slice.
#![expect(unsafe_code, reason = "tch gives a pointer and a length")]

use tch::{Device, Kind, Tensor};

/// Whether slices can be taken of it and kernels run on them.
pub fn is_plain(x: &Tensor) -> bool {
    x.kind() == Kind::Float && x.device() == Device::Cpu
}

/// The numbers of an fp32 tensor on the CPU whose memory is contiguous.
pub fn numbers(x: &Tensor) -> &[f32] {
    assert!(is_plain(x) && x.is_contiguous(), "contiguous fp32 on the CPU");
    // SAFETY: the memory belongs to the tensor, which outlives the slice, and holds that many fp32 numbers. Nobody writes
    // to it meanwhile: handles of the same memory are only written to by optimizers, between passes.
    unsafe { std::slice::from_raw_parts(x.data_ptr().cast(), x.numel()) }
}

/// A tensor of this shape, filled by `fill`. What it leaves out is 0.
pub fn filled(shape: &[i64], fill: impl FnOnce(&mut [f32])) -> Tensor {
    let x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    // SAFETY: as above; nobody else knows the tensor yet.
    fill(unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast(), x.numel()) });
    x
}
