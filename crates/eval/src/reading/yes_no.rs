//! Yes or no among the words of an answer.
//!
//! Source: VLMEvalKit as ms-vlmeval 0.0.20, `dataset/utils/yorn.py` and `smp/misc.py`.

use reft_math::python::{digit, words};

/// Marks that separate words, or are taken out where one of them touches a space.
const MARKS: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!',
];

/// Full stops that are taken out. The original passes a flag where a count is expected; the flag's number is 32.
const STOPS: usize = 32;

/// True for yes, false for no, nothing where both or neither occur as words.
pub(crate) fn read(answer: &str) -> Option<bool> {
    let plain = without_marks(&answer.to_lowercase());
    let has = |wanted: &str| words(&plain).any(|word| word == wanted);
    match (has("yes"), has("no")) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

fn without_marks(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let is_digit = |at: usize| chars.get(at).copied().and_then(digit).is_some();
    let grouped = (1..chars.len()).any(|i| chars[i] == ',' && is_digit(i - 1) && is_digit(i + 1));
    let touches_space = |mark: char| {
        chars
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if (*a == mark && *b == ' ') || (*a == ' ' && *b == mark)))
    };
    let mut plain = String::with_capacity(text.len());
    for &c in &chars {
        if !MARKS.contains(&c) {
            plain.push(c);
        } else if !grouped && !touches_space(c) {
            plain.push(' ');
        }
    }
    without_stops(&plain)
}

/// Without the first full stops that stand between no digits.
fn without_stops(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let is_digit = |at: Option<usize>| at.and_then(|at| chars.get(at)).copied().and_then(digit).is_some();
    let mut left = STOPS;
    let mut plain = String::with_capacity(text.len());
    for (i, &c) in chars.iter().enumerate() {
        if c == '.' && left > 0 && !is_digit(i.checked_sub(1)) && !is_digit(Some(i + 1)) {
            left -= 1;
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide() {
        for (answer, expected) in [
            ("Yes, there is.", Some(true)),
            ("NO", Some(false)),
            ("yes and no", None),
            ("**Yes**", None),
            ("nothing", None),
            ("(yes)", Some(true)),
        ] {
            assert_eq!(read(answer), expected, "{answer}");
        }
        assert_eq!(read(&format!("{}Yes.", "So. ".repeat(31))), Some(true));
        assert_eq!(read(&format!("{}Yes.", "So. ".repeat(32))), None);
    }
}
