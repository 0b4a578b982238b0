//! Operations that are one node of libtorch's graph where libtorch would make several, for fp32 on the CPU.
//!
//! Between matrix products, training a small model is bound by passes over memory: libtorch's graph of a gated MLP writes
//! the gradient of its inputs six times. Here forward and backward are one pass each. [`attach`] is what tch lacks: a
//! function with a backward pass of its own.
//!
//! Forward passes are those of `reft-kernels`, which rollouts use, so that both see the same numbers.

mod attention;
mod gate;
mod leaf;
mod linear;
mod node;
mod norm;
mod rotary;
mod rows;
mod slices;

pub use attention::{Look, attention};
pub use gate::silu_gate;
pub use leaf::set_grad;
pub use linear::linear;
pub use node::{attach, wants_gradient};
pub use norm::rms_norm;
pub use rotary::{Heads, turned_heads};
pub use slices::{filled, is_plain, numbers, numbers_mut};
