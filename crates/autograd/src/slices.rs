//! The numbers of a tensor as a slice.
#![expect(unsafe_code, reason = "tch gives a pointer and a length")]

use tch::{Device, Kind, Tensor};

/// Whether slices can be taken of it and kernels run on them.
pub fn is_plain(x: &Tensor) -> bool {
    x.kind() == Kind::Float && x.device() == Device::Cpu
}

/// The numbers of an fp32 tensor on the CPU whose memory is contiguous.
///
/// # Safety
///
/// While the slice lives, nobody writes to this memory through any of its handles: tensors share memory.
pub unsafe fn numbers(x: &Tensor) -> &[f32] {
    assert!(is_plain(x) && x.is_contiguous(), "contiguous fp32 on the CPU");
    // SAFETY: the memory belongs to the tensor, which outlives the slice, and holds that many fp32 numbers.
    unsafe { std::slice::from_raw_parts(x.data_ptr().cast(), x.numel()) }
}

/// The numbers of an fp32 tensor on the CPU whose memory is contiguous, to be written to.
///
/// # Safety
///
/// While the slice lives, nobody else reads or writes this memory through any of its handles: tensors share memory.
pub unsafe fn numbers_mut(x: &mut Tensor) -> &mut [f32] {
    assert!(is_plain(x) && x.is_contiguous(), "contiguous fp32 on the CPU");
    // SAFETY: the memory belongs to the tensor, which outlives the slice, and holds that many fp32 numbers.
    unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast(), x.numel()) }
}

/// [`numbers`] within a pass of this crate.
pub(crate) fn held(x: &Tensor) -> &[f32] {
    // SAFETY: a pass calls nobody else's code and writes to new tensors alone.
    unsafe { numbers(x) }
}

/// A tensor of this shape, filled by `fill`. What it leaves out is 0.
pub fn filled(shape: &[i64], fill: impl FnOnce(&mut [f32])) -> Tensor {
    let x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    // SAFETY: the memory holds that many fp32 numbers, and nobody else knows the tensor yet.
    fill(unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast(), x.numel()) });
    x
}
