//! The choice stage: one or more option letters, compared as a set.

use std::collections::BTreeSet;

use reft_config::PartialCredit;
use reft_core::{Completion, Reward, Sample, StageError};

use crate::{
    Reply, answer,
    text::{without_decoration, without_fence},
};

/// What a partly right set of letters earns (Curr-ReFT, stage 2).
const PARTLY_RIGHT: f32 = 0.2;

/// Pays 1 when the letters are the right *set*, 0.2 when they are partly right, else 0.
///
/// Partly right exists only where several letters are right, and means by default a non-empty strict subset of them
/// (a wrong letter makes it 0); [`PartialCredit::Overlap`] pays any overlap. Order and repeats do not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChoiceAccuracy {
    /// When 0.2 is paid.
    pub partial: PartialCredit,
}

impl Reward for ChoiceAccuracy {
    fn name(&self) -> &'static str {
        "letters"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let solution = answer::solution(sample);
        let right = letters(solution).ok_or_else(|| {
            StageError::sample(
                &sample.id,
                format!("the solution of a choice sample is option letters such as `B` or `A, C`, not `{solution}`"),
            )
        })?;
        let Some(given) = Reply::of(completion).answer.and_then(letters) else {
            return Ok(0.0);
        };
        if given == right {
            return Ok(1.0);
        }
        let partly = right.len() > 1
            && match self.partial {
                PartialCredit::Subset => given.is_subset(&right),
                PartialCredit::Overlap => !given.is_disjoint(&right),
            };
        Ok(if partly { PARTLY_RIGHT } else { 0.0 })
    }
}

/// Reads option letters; none when the answer is anything else.
///
/// The whole answer is a list of items, each a letter (`B`, `(b)`, `B.`, `option B`) or a letter with its option's
/// text (`B. a cat`, `(B) a cat`), with or without emphasis and LaTeX around (`\boxed{\text{B}}`). A letter with text needs a mark after it, so the article of `a cat` is no option,
/// and `not B` or `B or C` is no answer. Letters may also stand together in alphabetical order (`AC`).
pub fn letters(answer: &str) -> Option<BTreeSet<char>> {
    let bare = without_decoration(without_fence(answer)).trim_end_matches('.');
    let bare = bare
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .or_else(|| bare.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')))
        .unwrap_or(bare);
    run_of_letters(bare).or_else(|| list_of_items(bare))
}

/// `AC`, `ABD`: at least two capitals in strictly rising order.
fn run_of_letters(text: &str) -> Option<BTreeSet<char>> {
    let rising = text.len() > 1
        && text.chars().all(|c| c.is_ascii_uppercase())
        && text.as_bytes().windows(2).all(|pair| pair[0] < pair[1]);
    rising.then(|| text.chars().collect())
}

fn list_of_items(text: &str) -> Option<BTreeSet<char>> {
    let mut found = BTreeSet::new();
    let mut has_text = false;
    for piece in text.split([',', ';', '\n', '&']).flat_map(|piece| piece.split(" and ")) {
        let piece = piece.trim();
        if piece.is_empty() {
            continue;
        }
        if let Some((letter, text)) = item(piece) {
            found.insert(letter);
            has_text = !text.is_empty();
        } else if let Some(many) = spaced_letters(piece) {
            found.extend(many);
            has_text = false;
        } else if !has_text {
            // A piece that is no item may only continue the text of the option before it: `A. a cat, a dog`.
            return None;
        }
    }
    (!found.is_empty()).then_some(found)
}

/// One item: its letter and the option's text, if any.
fn item(piece: &str) -> Option<(char, &str)> {
    let piece = without_decoration(piece);
    let lower = piece.to_ascii_lowercase();
    let piece = if lower.starts_with("option ") { piece["option ".len()..].trim() } else { piece };
    let (opened, rest) = match piece.strip_prefix(['(', '[']) {
        Some(rest) => (true, rest),
        None => (false, piece),
    };
    let mut chars = rest.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?.to_ascii_uppercase();
    let after = chars.as_str();
    if after.is_empty() {
        return (!opened).then_some((letter, ""));
    }
    let marks: &[char] = if opened { &[')', ']'] } else { &['.', ')', ':'] };
    let text = after.strip_prefix(marks)?;
    // `e.g.` and `a.b` are words: the text of an option starts after white space.
    (text.is_empty() || text.starts_with(char::is_whitespace)).then(|| (letter, text.trim()))
}

/// `A C`: bare letters with only white space between.
fn spaced_letters(piece: &str) -> Option<BTreeSet<char>> {
    piece
        .split_whitespace()
        .map(|word| {
            let mut chars = word.chars();
            chars.next().filter(|c| c.is_ascii_uppercase() && chars.as_str().is_empty())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_by_hand() {
        let cases = [
            ("B", "B"),
            ("b", "B"),
            ("(B)", "B"),
            ("B.", "B"),
            ("B)", "B"),
            ("**B**", "B"),
            ("Option B", "B"),
            ("\\boxed{E}", "E"),
            ("\\boxed{\\text{C: a red kite}}", "C"),
            ("\\mathrm{(C)}", "C"),
            ("\\(C\\)", "C"),
            ("$A$, $C$", "AC"),
            ("\\boxed{A, C}.", "AC"),
            ("\\boxed{C} or \\boxed{E}", ""),
            ("\\boxed{not C}", ""),
            ("B. a cat", "B"),
            ("B: a cat", "B"),
            ("(b) a cat", "B"),
            ("B. a cat, a dog", "B"),
            ("A. a cat, C. a dog", "AC"),
            ("A. a cat\nC. a dog", "AC"),
            ("B, A", "AB"),
            ("A, B", "AB"),
            ("A,B,A", "AB"),
            ("A and B", "AB"),
            ("A B", "AB"),
            ("AB", "AB"),
            ("[\"A\", \"B\"]", "AB"),
            ("a cat", ""),
            ("A cat", ""),
            ("not B", ""),
            ("B or C", ""),
            ("cat, dog", ""),
            ("BA", ""),
            ("e.g. cats", ""),
            ("the answer", ""),
            ("5", ""),
            ("", ""),
        ];
        for (answer, expected) in cases {
            let got: String = letters(answer).into_iter().flatten().collect();
            assert_eq!(got, expected, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn order_case_and_repeats_do_not_matter(mut given in prop::collection::vec(prop::char::range('A', 'E'), 1..6)) {
            let set: BTreeSet<char> = given.iter().copied().collect();
            let join = |letters: &[char]| letters.iter().map(char::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(letters(&join(&given)), Some(set.clone()));
            given.reverse();
            prop_assert_eq!(letters(&join(&given).to_lowercase()), Some(set));
        }
    }
}
