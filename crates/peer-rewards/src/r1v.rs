//! R1-V: counting and geometry with GRPO.
//!
//! Source: Deep-Agent/R1-V, `src/r1-v/src/open_r1/grpo.py` at `bbbbe3d`.

use super::{
    PeerRow, Symbolic,
    python::strip,
    tags::{Span, first_answer},
};

/// Pays 1 when the [symbolic step](super::symbolic) agrees, or the answers are the same text, else 0.
///
/// What it gets wrong: the symbolic step sees the tags (a number right behind `<answer>` does not count for it), a
/// completion without tags is an answer, an answer with a line break is not found, and `5.0`, `(B)` or `YES` are not
/// `5`, `B` or `yes`.
pub(super) fn accuracy(row: &PeerRow<'_>, symbolic: Symbolic) -> f64 {
    let same = symbolic.same(row.completion, row.solution).unwrap_or(false);
    f64::from(same || line_answer(row.completion) == line_answer(row.solution))
}

/// The first answer block that lies within a line; else the whole text.
pub(super) fn line_answer(text: &str) -> &str {
    strip(first_answer(text, Span::Line).unwrap_or(text))
}
