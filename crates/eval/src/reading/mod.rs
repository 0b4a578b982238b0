//! How the graders of the field find an answer in a text: the pieces that benchmarks share.
//!
//! Each restates one published rule, faults included, so that its verdicts are those of the original. What is right
//! where these are not is [`ours`](crate::ours).

pub(crate) mod latex;
pub(crate) mod letter;
pub(crate) mod number;
pub(crate) mod option;
pub(crate) mod reasoning;
pub(crate) mod region;
pub(crate) mod value;
pub(crate) mod yes_no;

use regex::Regex;

/// Characters of a text, as Python counts length.
pub(crate) fn length(text: &str) -> usize {
    text.chars().count()
}

/// A constant pattern.
pub(crate) fn pattern(pattern: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "patterns are constants of this crate, and the verdicts' test compiles each"
    )]
    Regex::new(pattern).expect("a pattern")
}

/// The content of the last `\boxed{..}` that closes.
pub(crate) fn last_box(text: &str) -> Option<&str> {
    const OPEN: &str = "\\boxed{";
    // Where the brace that was opened before each character closes.
    let mut closing = vec![None; text.len() + 1];
    let mut open = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open.push(at + 1),
            b'}' => {
                if let Some(start) = open.pop() {
                    closing[start] = Some(at);
                }
            }
            _ => {}
        }
    }
    text.match_indices(OPEN)
        .map(|(at, _)| at + OPEN.len())
        .filter_map(|start| Some(&text[start..closing[start]?]))
        .last()
}
