//! Short free answers, compared as text, and the text clean-up that the readers share.

use reft_core::{Completion, Reward, Sample, StageError};
use reft_math::latex::unwrapped;

use crate::{Reply, answer};

/// Pays 1 for a short answer that equals the solution as text ([`normalize_text`]), else 0. Emphasis, quotes, `\boxed{}` and
/// `\text{}` around the whole, and commas between thousands of a number, make no difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextAccuracy;

impl Reward for TextAccuracy {
    fn name(&self) -> &'static str {
        "text_equal"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let solution = short_answer(answer::solution(sample));
        if solution.is_empty() {
            return Err(StageError::sample(&sample.id, "the solution is empty; give the right answer"));
        }
        let right = Reply::of(completion).answer.is_some_and(|answer| short_answer(answer) == solution);
        Ok(f32::from(right))
    }
}

fn short_answer(text: &str) -> String {
    let bare = without_decoration(text);
    if bare.is_empty() {
        // `**` is an answer of its own.
        return normalize_text(text);
    }
    ungrouped(bare).unwrap_or_else(|| normalize_text(bare))
}

/// `1,234.5` as `1234.5`; none for what is no number with commas between thousands.
fn ungrouped(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut groups = digits.split(',');
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().filter(|first| (1..=3).contains(&first.len()) && is_digits(first))?;
    let rest: Vec<&str> = groups.collect();
    let is_grouped = !rest.is_empty() && rest.iter().all(|group| group.len() == 3 && is_digits(group));
    if !is_grouped || !fraction.is_none_or(is_digits) {
        return None;
    }
    let fraction = fraction.filter(|digits| !digits.is_empty()).map(|digits| format!(".{digits}"));
    Some(format!("{sign}{first}{}{}", rest.concat(), fraction.unwrap_or_default()))
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

/// The text without what models put around a whole short answer: quotes, stars and backticks, math delimiters,
/// `\boxed{}` and `\text{}`, a sentence mark behind these.
pub(crate) fn without_decoration(text: &str) -> &str {
    let mut text = text.trim();
    // Each round removes characters, so this ends.
    loop {
        let bare = text.trim_matches(['*', '_', '`', '"', '\'']).trim();
        let before_mark = || bare.strip_suffix(['.', '!', ',']).map(str::trim_end);
        let bare = unwrapped(bare)
            .or_else(|| before_mark().and_then(unwrapped))
            .or_else(|| before_mark().filter(|text| text.ends_with(['*', '_', '`', '"', '\''])))
            .unwrap_or(bare);
        if bare.len() == text.len() {
            return text;
        }
        text = bare;
    }
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
    fn short_answers_without_what_is_around_them() {
        let cases = [
            ("**73**", "73"),
            ("**1,234**.", "1234"),
            ("-12,345.50", "-12345.50"),
            ("1,23", "1,23"),
            ("1, 234", "1, 234"),
            ("\\boxed{\\text{Red Circle}}", "red circle"),
            ("$\\mathrm{cat}$", "cat"),
            ("\"yes\".", "yes"),
            ("**yes.**", "yes"),
            ("\\boxed{a} or \\boxed{b}", "\\boxed{a} or \\boxed{b}"),
            ("$a$, $b$", "$a$, $b$"),
            ("**", "**"),
        ];
        for (text, expected) in cases {
            assert_eq!(short_answer(text), expected, "{text}");
        }
    }

    #[test]
    fn fences_are_removed() {
        for text in ["```json\n[1]\n```", "```\n[1]\n```", "```json [1]```", "[1]", "```[1]```"] {
            assert_eq!(without_fence(text), "[1]", "{text}");
        }
    }
}
