//! Passes without gradient, fp32 on the CPU: a decode step of a whole decoder ([`Decode`]), and what lies between the
//! matrix products of a longer pass.
//!
//! A decode step of a small model is bound by the number of operations, not by arithmetic: as tensor operations, a norm
//! is six, attention over a shared prefix a dozen, a layer some forty, and each may wake other threads. Here the whole
//! step is one piece of work of a team of threads that stay awake. Each loop is compiled for several instruction sets and
//! the best is taken at run time: by `multiversion` where the compiler makes good vectors of it, by `pulp` where vectors
//! are written out. Sums are taken in a fixed order per row, so a row's result depends neither on the other rows nor on
//! the number of threads.
//!
//! No tensor, and no unsafe code but a prefetch: crate `vlm` borrows the slices.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wider instruction set"
)]

mod attention;
mod decode;
mod delta;
mod elementwise;
mod lanes;
mod norm;
mod parallel;
mod prefetch;
mod product;
mod sample;
mod shapes;
mod team;

pub use decode::{Decode, Decoder, KvPlan, Layer, Linear, LowRank};
pub use delta::{DeltaTokens, delta_step};
pub use elementwise::{rotate, silu_gate};
pub use lanes::exp;
pub use norm::rms_norm;
pub use sample::{Conditions, Draw, Shaping, draw, draw_rows};
pub use shapes::{Heads, Rows};
