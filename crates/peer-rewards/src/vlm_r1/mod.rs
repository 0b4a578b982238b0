//! VLM-R1: referring expressions, detection and general questions.
//!
//! Source: om-ai-lab/VLM-R1, `src/open-r1-multimodal/src/open_r1/` at `90052f4`: `grpo_jsonl.py`, `utils/math.py` and
//! `vlm_modules/{qwen,internvl,glm}_module.py`.

mod answer;
mod choice;
mod equivalent;
mod objects;
mod rec;
mod repair;
mod repetition;

pub(super) use answer::{all_match, default, math, yes_no};
pub(super) use choice::mcq;
pub(super) use equivalent::{Percent, hendrycks};
pub(super) use objects::weighted_sum;
pub(super) use rec::{internvl_iou, iou, qwen_iou};
pub(super) use repetition::repetition;

use super::{python::is_space, tags::last_answer};

/// The last answer block or the whole text: line breaks as single spaces, no outer space, no full stops at the end,
/// lower case.
fn clean(text: &str) -> String {
    let text = last_answer(text).unwrap_or(text);
    let text = join_lines(&join_lines(text, '\n'), '\r');
    super::python::strip(&text).trim_end_matches('.').to_lowercase()
}

/// Line ends become spaces; behind white space they vanish.
fn join_lines(text: &str, end: char) -> String {
    let mut before = None;
    text.chars()
        .filter_map(|c| {
            let spaced = before.replace(c).is_some_and(is_space);
            match c {
                c if c != end => Some(c),
                _ if spaced => None,
                _ => Some(' '),
            }
        })
        .collect()
}
