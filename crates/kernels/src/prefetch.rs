//! A hint to the processor, the only unsafe code of this crate.
#![expect(unsafe_code, reason = "the hint takes a pointer")]

/// Asks for the cache line of `x[at]`, into the second level of the cache; beyond the end, of whatever lies there.
#[inline(always)]
pub(crate) fn prefetch(x: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads and writes nothing that a program sees, and no address makes it fail.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(x.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, at);
}
