//! The choice letter of an answer, by the notation that is trusted most.
//!
//! Source: lmms-eval 0.7.3, `tasks/_task_utils/mcq_extract.py` ([`trusted`]) and the older rule in
//! `tasks/_task_utils/reasoning_utils.py` ([`loose`]), which sees a letter in nearly every text.

/// Sentence marks and quotes that are taken off both ends, one kind after another.
const MARKS: [char; 8] = [',', '.', '!', '?', ';', ':', '\'', '"'];

/// Words that come before an answer.
const PHRASES: [&str; 26] = [
    "the answer is",
    "answer is",
    "the correct answer is",
    "correct answer is",
    "the best answer is",
    "best answer is",
    "the correct option is",
    "correct option is",
    "the best option is",
    "best option is",
    "the choice is",
    "choice is",
    "the correct choice is",
    "correct choice is",
    "i choose",
    "i select",
    "i pick",
    "my answer is",
    "my choice is",
    "옵션",
    "정답은",
    "답은",
    "답:",
    "答案是",
    "答案为",
    "选",
];
/// One more, apart for the length of the line above.
const JAPANESE_PHRASE: &str = "答えは";

/// Words that come before an answer in the older rule.
const LOOSE_PHRASES: [&str; 25] = [
    "the answer is",
    "answer is",
    "the correct answer is",
    "correct answer is",
    "the answer",
    "answer",
    "correct answer",
    "the correct answer",
    "the best answer is",
    "best answer is",
    "the best answer",
    "best answer",
    "the option is",
    "option is",
    "the correct option is",
    "correct option is",
    "the choice is",
    "choice is",
    "the correct choice is",
    "correct choice is",
    "i choose",
    "i select",
    "i pick",
    "my answer is",
    "my choice is",
];

/// Letters that the older rule looks for.
const LOOSE_LETTERS: [char; 8] = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'];

/// Letters with what stands around them, and how much each notation is trusted.
const NOTATIONS: [(&str, &str, u8); 5] =
    [("(", ")", 6), ("", ".", 5), ("", ":", 4), ("", ")", 3), ("", " ", 2)];
const LOOSE_NOTATIONS: [(&str, &str, u8); 3] = [("", "-", 1), ("", "_", 1), ("", "=", 1)];
const AFTER_PHRASE: u8 = 7;
const NUMBERED: u8 = 8;
const AT_END: u8 = 9;
const AT_START: u8 = 10;
const ANYWHERE: u8 = 0;

/// A letter, how much its notation is trusted, and its position in characters.
type Candidate = (char, u8, usize);

/// The letter in the notation that is trusted most, of equal ones the last; none in a text without any of them.
pub(crate) fn trusted(response: &str, letters: &[char]) -> Option<char> {
    let padded = padded(response)?;
    let text: Vec<char> = padded.chars().collect();
    let bare = padded.trim();
    let mut found = in_notations(&text, letters, &NOTATIONS);
    let phrases = PHRASES.iter().copied().chain([JAPANESE_PHRASE]);
    found.extend(after_phrases(&text, letters, phrases, true));
    let is_word = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphabetic);
    for &letter in letters {
        if bare.starts_with(letter) && !is_word(bare.chars().nth(1)) {
            found.push((letter, AT_START, 0));
        }
    }
    for &letter in letters {
        if bare.ends_with(letter) && !is_word(bare.chars().rev().nth(1)) {
            found.push((letter, AT_END, text.len() - 1));
        }
    }
    if found.is_empty() {
        found = anywhere(&text, letters);
    }
    // The first of equals.
    found
        .into_iter()
        .reduce(|best, next| if (next.1, next.2) > (best.1, best.2) { next } else { best })
        .map(|(letter, ..)| letter)
}

/// The letter A to H that the older rule finds, which takes the *first* position of equal notations, and any capital at the
/// start or the end of a text for an answer.
pub(crate) fn loose(response: &str) -> Option<char> {
    let padded = padded(response)?;
    let text: Vec<char> = padded.chars().collect();
    let bare = padded.trim();
    let letters = &LOOSE_LETTERS;
    let mut found = in_notations(&text, letters, &NOTATIONS);
    found.extend(in_notations(&text, letters, &LOOSE_NOTATIONS));
    found.extend(after_phrases(&text, letters, LOOSE_PHRASES.iter().copied(), false));
    found.extend(letters.iter().filter(|&&letter| bare.starts_with(letter)).map(|&l| (l, AT_START, 0)));
    let end = text.len() - 1;
    found.extend(letters.iter().filter(|&&letter| bare.ends_with(letter)).map(|&l| (l, AT_END, end)));
    for (i, &letter) in letters.iter().enumerate() {
        if let Some(position) = last(&text, &format!("{}. {letter}", i + 1)) {
            found.push((letter, NUMBERED, position));
        }
    }
    if found.is_empty() {
        found = anywhere(&text, letters);
    }
    found
        .into_iter()
        .reduce(
            |best, next| if next.1 > best.1 || (next.1 == best.1 && next.2 < best.2) { next } else { best },
        )
        .map(|(letter, ..)| letter)
}

/// The text between spaces, without marks at its ends; none where nothing is there.
fn padded(response: &str) -> Option<String> {
    let mut text = reft_math::python::strip(response);
    if text.is_empty() {
        return None;
    }
    for mark in MARKS {
        text = text.trim_matches(mark);
    }
    Some(format!(" {text} "))
}

fn in_notations(text: &[char], letters: &[char], notations: &[(&str, &str, u8)]) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (before, after, trust) in notations {
        for &letter in letters {
            if let Some(position) = last(text, &format!("{before}{letter}{after}")) {
                found.push((letter, *trust, position));
            }
        }
    }
    found
}

/// The first occurrence of each letter after the first occurrence of each phrase.
fn after_phrases<'a>(
    text: &[char],
    letters: &[char],
    phrases: impl Iterator<Item = &'a str>,
    behind: bool,
) -> Vec<Candidate> {
    let lower: Vec<char> = text.iter().collect::<String>().to_lowercase().chars().collect();
    let mut found = Vec::new();
    for phrase in phrases {
        let phrase: Vec<char> = phrase.chars().collect();
        let Some(at) = lower.windows(phrase.len()).position(|window| window == phrase) else { continue };
        let from = if behind { at + phrase.len() } else { at };
        for &letter in letters {
            if let Some(offset) = text.get(from..).and_then(|rest| rest.iter().position(|&c| c == letter)) {
                found.push((letter, AFTER_PHRASE, from + offset));
            }
        }
    }
    found
}

fn anywhere(text: &[char], letters: &[char]) -> Vec<Candidate> {
    let position = |letter: char| text.iter().rposition(|&c| c == letter);
    letters.iter().filter_map(|&letter| Some((letter, ANYWHERE, position(letter)?))).collect()
}

/// The last position of a piece.
fn last(text: &[char], piece: &str) -> Option<usize> {
    let piece: Vec<char> = piece.chars().collect();
    text.windows(piece.len()).rposition(|window| window == piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_decides() {
        let letters = ['A', 'B', 'C', 'D'];
        for (text, expected) in [
            ("The answer is B, not C", Some('C')),
            ("The correct answer is (B).", Some('B')),
            ("A man is here", Some('A')),
            ("USA.", Some('A')),
            ("B", Some('B')),
            ("nothing", None),
            ("  ", None),
            ("(A) or (C)", Some('C')),
        ] {
            assert_eq!(trusted(text, &letters), expected, "{text}");
        }
        for (text, expected) in [("Bach", Some('B')), ("12", None), ("x = C", Some('C')), ("MAY", Some('A'))]
        {
            assert_eq!(loose(text), expected, "{text}");
        }
    }
}
