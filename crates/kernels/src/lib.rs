//! What lies between the matrix products of a forward pass without gradient, fused, for fp32 on the CPU.
//!
//! A decode step of a small model is bound by the number of operations, not by arithmetic: a norm is six tensor
//! operations, attention over a shared prefix a dozen. Here each is one pass over plain slices. So are products of few
//! rows; those of many stay libtorch's. Each function is compiled for several instruction sets and the best is taken at
//! run time: by `multiversion` where the compiler makes good vectors of a loop, by `pulp` where vectors are written out.
//! Sums are taken in a fixed order per row, so a row's result depends neither on the other rows nor on the number of
//! threads.
//!
//! No tensor, and no unsafe code but a prefetch: crate `vlm` borrows the slices.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wider instruction set"
)]

mod attention;
mod cache;
mod elementwise;
mod lanes;
mod norm;
mod parallel;
mod prefetch;
mod product;
mod sample;

pub use attention::{BLOCK, Heads, Own, Prompts, Rows, SharedPrefix, attend};
pub use cache::{append, fill};
pub use elementwise::{rotate, silu_gate};
pub use lanes::exp;
pub use norm::rms_norm;
pub use product::product;
pub use sample::{Draw, Place, Shaping, draw, draw_rows};
