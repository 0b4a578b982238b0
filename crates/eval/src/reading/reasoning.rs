//! The rule-based grader of lmms-eval's reasoning tasks: tags or a box, a letter, else math-verify.
//!
//! Source: lmms-eval 0.7.3, `tasks/_task_utils/reasoning_utils.py`.

use reft_math::python::{digit, is_space, strip};
use reft_peer_rewards::math_verify;

use super::{last_box, length, letter};

/// What the grader says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// What it takes for the answer.
    pub(crate) answer: String,
    /// Whether that is right.
    pub(crate) right: bool,
}

/// Length from which a text without tags may earn a part of the format.
const LONG: usize = 50;
/// What it earns.
const LONG_FORMAT: f64 = 0.8;
/// Share of the longer text that the shorter one must have to count when it is contained.
const CONTAINED: f64 = 0.9;

/// Grades an answer.
pub(crate) fn grade(prediction: &str, truth: &str) -> Reading {
    let text = strip(prediction);
    let answer = without_stop(strip(&extracted(text)));
    let truth = without_stop(truth);
    let right = exact(&answer, &truth) || math_verify(&truth, &answer);
    Reading { answer, right }
}

/// The first answer block, else the last box, else a number at the end of a line, from the last line up.
fn extracted(text: &str) -> String {
    if let Some(answer) = between(text, "<answer>", "</answer>") {
        return answer.to_owned();
    }
    if let Some(boxed) = last_box(text).filter(|boxed| !boxed.is_empty()) {
        return boxed.to_owned();
    }
    strip(text).split('\n').rev().find_map(number_at_end).unwrap_or_default()
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}

/// The number that a line ends with, a full stop and white space aside; it stands at a word's start.
fn number_at_end(line: &str) -> Option<String> {
    let trimmed = line.trim_end_matches(is_space);
    let without_dot = trimmed.strip_suffix('.').map(|rest| rest.trim_end_matches(is_space));
    let text: Vec<char> = without_dot.unwrap_or(trimmed).chars().collect();
    let digits = |end: usize| text[..end].iter().rev().take_while(|&&c| digit(c).is_some()).count();
    let last = digits(text.len());
    if last == 0 {
        return None;
    }
    let start = text.len() - last;
    let is_word = |at: usize| text[at].is_alphanumeric() || text[at] == '_';
    let begins_word = |at: usize| at == 0 || !is_word(at - 1);
    let whole = if start > 0 && text[start - 1] == '.' { digits(start - 1) } else { 0 };
    if whole > 0 && begins_word(start - 1 - whole) {
        return Some(text[start - 1 - whole..].iter().collect());
    }
    begins_word(start).then(|| text[start..].iter().collect())
}

fn without_stop(text: &str) -> String {
    strip(text.strip_suffix('.').unwrap_or(text)).to_owned()
}

/// A truth in which a letter A to H can be seen is a choice; else the shorter text must make up most of the longer one.
fn exact(answer: &str, truth: &str) -> bool {
    if let Some(right) = letter::loose(truth) {
        return letter::loose(answer) == Some(right);
    }
    let (given, wanted) = (length(answer) as f64, length(truth) as f64);
    truth.contains(answer) && given >= CONTAINED * wanted
        || answer.contains(truth) && wanted >= CONTAINED * given
        || strip(answer) == strip(truth)
}

/// 1 for tags or a box, 0.8 for a long text with an answer, else 0.
pub fn format(prediction: &str) -> f64 {
    let text = strip(prediction);
    let is_made_of = |pieces: [&str; 4]| {
        let mut rest = text.strip_prefix(pieces[0]);
        for piece in &pieces[1..3] {
            rest = rest.and_then(|rest| rest.split_once(piece)).map(|(_, rest)| rest);
        }
        rest.is_some_and(|rest| rest.ends_with(pieces[3]))
    };
    if is_made_of(["<think>", "</think>", "<answer>", "</answer>"])
        || is_made_of(["<analysis>", "</analysis>", "<answer>", "</answer>"])
        || last_box(text).is_some_and(|boxed| !boxed.is_empty())
    {
        return 1.0;
    }
    let has_math = text.contains(['=', '+', '-', '*', '/', '(', ')', '[', ']', '\\']);
    if length(text) > LONG && has_math && !extracted(text).is_empty() { LONG_FORMAT } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        for (prediction, truth, answer, right, format) in [
            ("<think>t</think><answer>B</answer>", "B", "B", true, 1.0),
            ("so \\boxed{\\frac{1}{2}}", "0.5", "\\frac{1}{2}", false, 1.0),
            ("so \\boxed{12.0}", "12", "12.0", true, 1.0),
            ("It is 204.", "204", "204", true, 0.0),
            ("It is x204", "204", "", false, 0.0),
            ("Ba", "Bach", "", false, 0.0),
            ("<answer>Ba</answer>", "Bach", "Ba", true, 0.0),
            ("", "3", "", false, 0.0),
        ] {
            let reading = grade(prediction, truth);
            assert_eq!(
                (reading.answer.as_str(), super::format(prediction)),
                (answer, format),
                "{prediction}"
            );
            if !prediction.contains("frac") {
                assert_eq!(reading.right, right, "{prediction}");
            }
        }
    }
}
