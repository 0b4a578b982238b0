//! The memory allocator of the programs: mimalloc, for Rust and, because the executable exports its `malloc`, for
//! libtorch.
//!
//! A training step asks for hundreds of large tensors and gives them back. glibc hands large blocks back to the system,
//! which clears every page again when the next pass asks for them, or, told to keep them, grows by the gaps between what
//! stays (`docs/BENCHMARKS.md` has both).
//!
//! A program takes it by naming the crate: `use reft_allocator as _;`. Libraries leave the choice to the program.

/// Every allocation of the process.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
