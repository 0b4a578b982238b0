//! Short free answers, compared as text, and the text clean-up that the readers share.

use reft_core::{Completion, Reward, Sample, StageError};

use crate::{Reply, answer};

/// Pays 1 for a short answer that equals the solution as text ([`normalize_text`]), else 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextAccuracy;

impl Reward for TextAccuracy {
    fn name(&self) -> &'static str {
        "text_equal"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let solution = normalize_text(answer::solution(sample));
        if solution.is_empty() {
            return Err(StageError::sample(&sample.id, "the solution is empty; give the right answer"));
        }
        let right = Reply::of(completion).answer.is_some_and(|answer| normalize_text(answer) == solution);
        Ok(f32::from(right))
    }
}

/// Lower case, runs of white space as one space, without outer white space and sentence marks.
pub fn normalize_text(text: &str) -> String {
    let lower = text.to_lowercase();
    let joined = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.trim_end_matches(['.', '!', '?', ' ']).to_owned()
}

/// The text without a Markdown code fence around it.
pub(crate) fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    // The first line of a fence names a language, unless the content starts right there.
    match inner.split_once('\n') {
        Some((language, body)) if language.trim().chars().all(char::is_alphanumeric) => body.trim(),
        _ => inner.trim_start_matches("json").trim(),
    }
}

/// The text without the quotes, stars and backticks that models put around short answers.
pub(crate) fn without_decoration(text: &str) -> &str {
    text.trim().trim_matches(['*', '_', '`', '"', '\'']).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_without_case_and_space() {
        assert_eq!(normalize_text("  A  Red\ncircle. "), "a red circle");
        assert_eq!(normalize_text("no"), "no");
        assert_ne!(normalize_text("light traffic"), normalize_text("traffic light"));
    }

    #[test]
    fn fences_are_removed() {
        for text in ["```json\n[1]\n```", "```\n[1]\n```", "```json [1]```", "[1]", "```[1]```"] {
            assert_eq!(without_fence(text), "[1]", "{text}");
        }
    }
}
