//! EasyR1: mathematics, graded by `mathruler`.
//!
//! Source: hiyouga/EasyR1, `examples/reward_function/{r1v,math,dapo}.py` at `b44b311`, with mathruler 0.1.0.

mod dapo;
mod expression;
mod latex_text;
mod mathruler;

pub(super) use dapo::dapo;

use super::{
    PeerRow,
    python::{is_space, strip},
    r1v::line_answer,
    tags::is_think_answer,
};

/// What the format adds to R1-V's score in EasyR1.
const R1V_FORMAT: f64 = 0.5;
/// What the format adds to the score of mathematics.
const MATH_FORMAT: f64 = 0.1;

/// Pays 1 when the answer within a line, or a whole text without tags, is graded right, else 0.
///
/// What it gets wrong: `2/4` is not `1/2` (fractions must be reduced), `50%` is `50` and not `0.5`, `60°` is not `60`.
pub(super) fn r1v_accuracy(row: &PeerRow<'_>) -> f64 {
    f64::from(mathruler::right(line_answer(row.completion), strip(row.solution)))
}

/// `0.5 * accuracy + 0.5 * format`.
pub(super) fn r1v_overall(row: &PeerRow<'_>) -> f64 {
    (1.0 - R1V_FORMAT) * r1v_accuracy(row) + R1V_FORMAT * f64::from(is_think_answer(row.completion))
}

/// Pays 1 when the content of the last box is graded right, else 0.
///
/// What it gets wrong: without a box the answer is the word `None`, which is right where the solution is, too; white
/// space around `<`, `>` and `/` is taken out first, in the mathematics as well.
pub(super) fn math_accuracy(row: &PeerRow<'_>) -> f64 {
    let text = without_space_at_marks(row.completion);
    f64::from(mathruler::right(mathruler_box(&text), row.solution))
}

/// `0.9 * accuracy + 0.1 * format`; the format is a think block at the start with a box somewhere behind it.
pub(super) fn math_overall(row: &PeerRow<'_>) -> f64 {
    let text = without_space_at_marks(row.completion);
    let boxed = text
        .strip_prefix("<think>")
        .and_then(|rest| rest.split_once("</think>"))
        .and_then(|(_, rest)| rest.split_once("\\boxed{"))
        .is_some_and(|(_, rest)| rest.contains('}'));
    (1.0 - MATH_FORMAT) * math_accuracy(row) + MATH_FORMAT * f64::from(boxed)
}

/// mathruler 0.1.0: `grade_answer(answer, solution)`.
pub fn mathruler(answer: &str, solution: &str) -> bool {
    mathruler::right(answer, solution)
}

/// mathruler 0.1.0: `extract_boxed_content(text)`, the content of the last `\boxed{..}`; `None` as a word where it does
/// not close.
pub fn mathruler_box(text: &str) -> &str {
    let content = text.rsplit_once("\\boxed{").and_then(|(_, content)| {
        let mut depth = 0_i32;
        let end = content.bytes().position(|byte| {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            depth == -1
        })?;
        Some(strip(&content[..end]))
    });
    content.unwrap_or("None")
}

fn without_space_at_marks(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut after_mark = false;
    for c in text.chars() {
        if "<>/".contains(c) {
            kept.truncate(kept.trim_end_matches(is_space).len());
            after_mark = true;
        } else if after_mark && is_space(c) {
            continue;
        } else {
            after_mark = false;
        }
        kept.push(c);
    }
    kept
}
