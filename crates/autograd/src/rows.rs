//! Rows in blocks, on several threads when there is enough to do. Blocks do not depend on the number of threads, so
//! neither do sums over them.

use rayon::prelude::*;

/// Rows of a block.
pub(crate) const BLOCK: usize = 64;

/// Numbers below which threads cost more than they bring.
const WORTH_THREADS: usize = 1 << 17;

/// Calls `f(first row, rows)` for blocks of rows of `width` numbers; returns what it gives, in order.
pub(crate) fn blocks<T: Send>(
    out: &mut [f32],
    width: usize,
    f: impl Fn(usize, &mut [f32]) -> T + Sync + Send,
) -> Vec<T> {
    let size = BLOCK * width;
    if tch::get_num_threads() > 1 && out.len() >= WORTH_THREADS {
        out.par_chunks_mut(size).enumerate().map(|(i, rows)| f(i * BLOCK, rows)).collect()
    } else {
        out.chunks_mut(size).enumerate().map(|(i, rows)| f(i * BLOCK, rows)).collect()
    }
}
