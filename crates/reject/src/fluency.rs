//! Whether a text reads like one: no loops, no broken characters.

use std::collections::HashSet;

/// Words of a phrase that may not come back.
const PHRASE: usize = 4;
/// A text with fewer words cannot loop in phrases.
const SHORT: usize = 12;
/// Equal characters in a row that no word has.
const RUN: usize = 8;

/// 1 for fluent text; less by the share of repeated phrases; 0 with broken characters or a long run of one character.
pub(crate) fn share(text: &str) -> f32 {
    if text.trim().is_empty() || has_broken_characters(text) || has_long_run(text) {
        return 0.0;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < SHORT {
        return 1.0;
    }
    let phrases: Vec<&[&str]> = words.windows(PHRASE).collect();
    let distinct: HashSet<&[&str]> = phrases.iter().copied().collect();
    distinct.len() as f32 / phrases.len() as f32
}

fn has_broken_characters(text: &str) -> bool {
    text.chars().any(|c| c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace()))
}

fn has_long_run(text: &str) -> bool {
    let mut run = 0;
    let mut last = None;
    text.chars().filter(|c| c.is_alphanumeric()).any(|c| {
        run = if last == Some(c) { run + 1 } else { 1 };
        last = Some(c);
        run >= RUN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fluency_by_hand() {
        assert_eq!(share("There is a seven at the top and a three below it, which makes ten."), 1.0);
        assert_eq!(share(""), 0.0);
        assert_eq!(share("seven \u{fffd}"), 0.0);
        assert_eq!(share("soooooooooo"), 0.0);
        assert_eq!(share("a\u{7}"), 0.0);
        // 13 words give 10 phrases, of which `a b c d` and its three rotations are distinct.
        assert_eq!(share(&"a b c d ".repeat(3).trim().chars().chain(" a".chars()).collect::<String>()), 0.4);
    }
}
