//! Where the gradient of a leaf accumulates.
#![expect(unsafe_code, reason = "a call across the border to C++")]

use std::ptr::null;

use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn reft_set_grad(leaf: *const C_tensor, grad: *const C_tensor);
}

/// Makes a tensor the gradient of a leaf; none forgets it. Backward passes then add to this tensor's memory in place, so
/// that the gradients of many leaves can be views of one buffer.
///
/// # Panics
///
/// When the two differ in shape, kind or device.
pub fn set_grad(leaf: &Tensor, grad: Option<&Tensor>) {
    if let Some(grad) = grad {
        let facts = |x: &Tensor| (x.size(), x.kind(), x.device());
        assert_eq!(facts(leaf), facts(grad), "a gradient looks like its leaf");
    }
    // SAFETY: the pointers are those of living tensors; libtorch takes a handle of its own.
    unsafe { reft_set_grad(leaf.as_ptr(), grad.map_or(null(), Tensor::as_ptr)) };
}
