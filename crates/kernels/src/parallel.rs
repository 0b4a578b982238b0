//! Work in pieces, on several threads when there is enough of it.

use rayon::prelude::*;

/// Numbers below which threads cost more than they bring.
pub(crate) const WORTH_THREADS: usize = 1 << 16;

/// Calls `f(i, chunk)` for every chunk of `width` numbers of `out`, `i` counting chunks. `work` is about how many
/// numbers are touched in all.
pub(crate) fn for_rows(
    out: &mut [f32],
    width: usize,
    work: usize,
    threads: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    let rows = out.len() / width.max(1);
    let pieces = threads.min(work / WORTH_THREADS + 1).min(rows);
    if pieces <= 1 {
        out.chunks_exact_mut(width).enumerate().for_each(|(i, row)| f(i, row));
        return;
    }
    let per_piece = rows.div_ceil(pieces);
    out.par_chunks_mut(per_piece * width).enumerate().for_each(|(piece, rows)| {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            f(piece * per_piece + i, row);
        }
    });
}
