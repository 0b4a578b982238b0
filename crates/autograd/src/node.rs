//! Nodes of libtorch's graph with a backward pass in Rust.
//!
//! tch has no custom functions, so this is the small shim that makes one: `node.cpp` derives from libtorch's node and
//! calls back.
#![expect(unsafe_code, reason = "a callback across the border to C++")]

use std::ffi::c_void;

use tch::Tensor;
use torch_sys::C_tensor;

/// Gradients of the outputs (none where an output took no part) to gradients of the inputs.
type Backward = Box<dyn FnMut(Vec<Option<Tensor>>) -> Vec<Option<Tensor>> + Send>;

unsafe extern "C" {
    fn reft_wants_gradient(inputs: *const *const C_tensor, n_inputs: usize) -> bool;
    fn reft_attach(
        inputs: *const *const C_tensor,
        n_inputs: usize,
        outputs: *const *const C_tensor,
        n_outputs: usize,
        state: *mut c_void,
        backward: unsafe extern "C" fn(*mut c_void, *const *mut C_tensor, usize, *mut *mut C_tensor, usize),
        drop: unsafe extern "C" fn(*mut c_void),
    );
}

/// Whether a gradient will be asked for of what is computed from these.
pub fn wants_gradient(inputs: &[&Tensor]) -> bool {
    let inputs: Vec<*const C_tensor> = inputs.iter().map(|x| x.as_ptr()).collect();
    // SAFETY: the pointers are those of living tensors, which are only read.
    unsafe { reft_wants_gradient(inputs.as_ptr(), inputs.len()) }
}

/// Makes `outputs`, computed from `inputs` without a graph, results of a node whose backward pass is `backward`: it gets
/// the gradient of each output and returns one for each input, and may be called once. It must not keep handles of the
/// outputs that belong to the graph ([`Tensor::detach`] gives one that does not), or the node is never freed.
///
/// Nothing happens when no gradient will be asked for.
pub fn attach(
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    backward: impl FnMut(Vec<Option<Tensor>>) -> Vec<Option<Tensor>> + Send + 'static,
) {
    if !wants_gradient(inputs) {
        return;
    }
    let pointers = |xs: &[&Tensor]| -> Vec<*const C_tensor> { xs.iter().map(|x| x.as_ptr()).collect() };
    let (inputs, outputs) = (pointers(inputs), pointers(outputs));
    let state: *mut Backward = Box::into_raw(Box::new(Box::new(backward)));
    // SAFETY: the pointers are those of living tensors; `state` goes to the node, which gives it to `call` and, once, to
    // `release`.
    unsafe {
        reft_attach(
            inputs.as_ptr(),
            inputs.len(),
            outputs.as_ptr(),
            outputs.len(),
            state.cast(),
            call,
            release,
        );
    }
}

unsafe extern "C" fn call(
    state: *mut c_void,
    grads: *const *mut C_tensor,
    n_grads: usize,
    results: *mut *mut C_tensor,
    n_results: usize,
) {
    // SAFETY: the node passes the state it was made with and arrays of these lengths; it owns what is put into `results`
    // and no longer what was in `grads`.
    let (backward, grads, results) = unsafe {
        (
            &mut *state.cast::<Backward>(),
            std::slice::from_raw_parts(grads, n_grads),
            std::slice::from_raw_parts_mut(results, n_results),
        )
    };
    let owned = |&grad: &*mut C_tensor| (!grad.is_null()).then(|| unsafe { Tensor::from_ptr(grad) });
    let found = backward(grads.iter().map(owned).collect());
    assert_eq!(found.len(), n_results, "one gradient, or none, for each input");
    for (result, found) in results.iter_mut().zip(found) {
        if let Some(found) = found {
            *result = std::mem::ManuallyDrop::new(found).as_mut_ptr();
        }
    }
}

unsafe extern "C" fn release(state: *mut c_void) {
    // SAFETY: made by `Box::into_raw` in `attach`; the node calls this once.
    drop(unsafe { Box::from_raw(state.cast::<Backward>()) });
}
