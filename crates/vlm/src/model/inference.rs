//! Passes that nothing is learned from. Where they can, in fp32 on the CPU, they run the loops of `reft-kernels` instead
//! of tensor operations, of which a decode step of a small model would need ten times as many.
//!
//! The results differ from those of tensor operations in the last bits. A pass that is compared with a training pass
//! (the KL reference, old log-probabilities) therefore records no gradients but is not an [`Inference`].
//!
//! `unsafe` is here, in `for_kernels` of the layers, which lend their parameters to a decode step, where weights are mapped
//! (`checkpoint/map.rs`) and where CUDA is loaded (`cuda.rs`).

use std::cell::Cell;

use reft_autograd::filled;
use reft_kernels::Rows;
use tch::{Device, Kind, NoGradGuard, Tensor, get_num_threads};

thread_local! {
    static INFERENCE: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread records no gradients and runs kernels where they apply.
pub struct Inference {
    outer: bool,
    _no_grad: NoGradGuard,
}

impl Inference {
    /// Starts; ends when dropped.
    #[must_use]
    pub fn start() -> Self {
        Self { outer: INFERENCE.replace(true), _no_grad: tch::no_grad_guard() }
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        INFERENCE.set(self.outer);
    }
}

/// Runs tensor operations alone, also within an [`Inference`]: what is computed here may be compared with a training pass.
pub(super) fn without_kernels<T>(run: impl FnOnce() -> T) -> T {
    let outer = INFERENCE.replace(false);
    let result = run();
    INFERENCE.set(outer);
    result
}

/// Whether kernels compute with these numbers.
pub(crate) fn has_kernels(device: Device, kind: Kind) -> bool {
    INFERENCE.get() && device == Device::Cpu && kind == Kind::Float
}

/// Whether kernels compute with this tensor.
pub(super) fn is_for_kernels(x: &Tensor) -> bool {
    has_kernels(x.device(), x.kind())
}

/// Threads that kernels may use: as many as libtorch.
pub fn kernel_threads() -> usize {
    get_num_threads().max(1) as usize
}

/// A new fp32 tensor, made by a kernel from the rows of others (fp32, on the CPU).
pub fn map<const N: usize>(
    inputs: [&Tensor; N],
    shape: &[i64],
    kernel: impl FnOnce([Rows<'_>; N], &mut [f32]),
) -> Tensor {
    filled(shape, |out| read(inputs, |rows| kernel(rows, out)))
}

/// Hands the rows of tensors (fp32, on the CPU) to a kernel. A row is an entry of the first axis.
pub fn read<const N: usize, T>(inputs: [&Tensor; N], kernel: impl FnOnce([Rows<'_>; N]) -> T) -> T {
    // Only what lies in one piece within a row can be read in place.
    let inputs = inputs.map(|x| if rows_are_whole(x) { x.shallow_clone() } else { x.contiguous() });
    kernel(inputs.each_ref().map(rows))
}

fn rows_are_whole(x: &Tensor) -> bool {
    let (size, stride) = (x.size(), x.stride());
    let mut expected = 1;
    for axis in (1..size.len()).rev() {
        if size[axis] != 1 && stride[axis] != expected {
            return false;
        }
        expected *= size[axis];
    }
    // Rows that overlap, as those of an expanded tensor do, have less memory than numbers.
    let are_apart = size.first().is_none_or(|&n| n < 2) || stride[0] >= expected;
    are_apart && (size.len() > 1 || stride == [1])
}

#[expect(unsafe_code, reason = "libtorch's memory has no safe view")]
fn rows(x: &Tensor) -> Rows<'_> {
    let size = x.size();
    let width: i64 = size[1..].iter().product();
    let (n, stride) = if size.len() > 1 { (size[0], x.stride()[0].max(width)) } else { (1, size[0]) };
    let width = if size.len() > 1 { width } else { size[0] };
    assert!(
        x.kind() == Kind::Float && x.device() == Device::Cpu && n > 0 && width > 0,
        "numbers for kernels"
    );
    let length = (n - 1) * stride + width;
    // SAFETY: the tensor holds `n` rows of `width` numbers, `stride` apart, as was seen by `rows_are_whole`; it lives as
    // long as the slice, and kernels write to nothing but tensors that no one else has and buffers of their own.
    let numbers = unsafe { std::slice::from_raw_parts(x.data_ptr().cast::<f32>(), length as usize) };
    Rows { numbers, stride: stride as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_place_or_copied() {
        let x = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([2, 3, 4]);
        let sum = |x: &Tensor, width: usize| {
            let out = map([x], &[x.size()[0]], |[rows], out| {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = rows.row(i, width).iter().sum();
                }
            });
            Vec::<f32>::try_from(out).unwrap()
        };
        assert_eq!(sum(&x, 12), [66.0, 210.0]);
        // The first two of three rows of each: in place, with a stride.
        assert!(rows_are_whole(&x.narrow(1, 0, 2)));
        assert_eq!(sum(&x.narrow(1, 0, 2), 8), [28.0, 124.0]);
        // An expanded row is there once in memory and is copied.
        let row = x.narrow(0, 1, 1).narrow(1, 2, 1).reshape([1, 4]).expand([3, 4], false);
        assert!(!rows_are_whole(&row));
        assert_eq!(sum(&row, 4), [86.0, 86.0, 86.0]);
        // Columns lie apart and are copied.
        assert!(!rows_are_whole(&x.narrow(2, 0, 2)));
        assert_eq!(sum(&x.narrow(2, 0, 2), 6), [27.0, 99.0]);
    }

    #[test]
    fn kernels_belong_to_an_inference() {
        assert!(!has_kernels(Device::Cpu, Kind::Float));
        {
            let _inference = Inference::start();
            assert!(has_kernels(Device::Cpu, Kind::Float));
            assert!(!has_kernels(Device::Cpu, Kind::BFloat16));
            drop(Inference::start());
            assert!(has_kernels(Device::Cpu, Kind::Float));
        }
        assert!(!has_kernels(Device::Cpu, Kind::Float));
    }
}
