//! Memory that stays with the process between passes.
#![expect(unsafe_code, reason = "a call across the border to C++")]

use std::sync::Once;

unsafe extern "C" {
    fn reft_keep_memory();
    fn reft_return_memory();
}

/// Tells glibc's allocator to keep what tensors give back. By default it hands large blocks back to the system, which
/// clears every page again when the next pass asks for them: a fifth of an update of 42 M parameters on two cores.
///
/// Resident memory then stays at its peak; [`return_memory`] gives back what lies free. The variables
/// `MALLOC_MMAP_MAX_`, `MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_` and `MALLOC_TOP_PAD_` of the environment go
/// before; with another allocator nothing happens.
pub fn keep_memory() {
    static ONCE: Once = Once::new();
    // SAFETY: sets parameters of the allocator, under its own lock, and reads the environment, which nobody writes to.
    ONCE.call_once(|| unsafe { reft_keep_memory() });
}

/// Gives back to the system what lies free.
pub fn return_memory() {
    // SAFETY: the allocator gives back what nobody holds, under its own lock.
    unsafe { reft_return_memory() };
}
