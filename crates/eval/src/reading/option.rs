//! Option inference of VLMEvalKit: a letter among the words, else the text of one option.
//!
//! Source: VLMEvalKit as ms-vlmeval 0.0.20, `utils/matching_util.py`. The version matters: later ones look for "answer is
//! X" first.

use reft_math::python::words;

use super::length;

/// What a client writes where its server did not answer.
const NO_REPLY: &str = "Failed to obtain answer via API";

/// Beginnings of answers that say nothing.
const REFUSALS: [&str; 4] = [
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
];

/// Marks that separate words.
const MARKS: &str = ".()[],:;!*#{}";

/// The letter of an answer that names no option.
pub(crate) const NO_OPTION: char = 'Z';

/// The option that an answer names, [`NO_OPTION`] where it refuses, nothing where neither can be told.
pub(crate) fn infer(answer: &str, options: &[(char, String)]) -> Option<char> {
    by_letter(answer, options).or_else(|| by_text(answer, options))
}

fn by_letter(answer: &str, options: &[(char, String)]) -> Option<char> {
    if answer.contains(NO_REPLY) {
        return None;
    }
    if REFUSALS.iter().any(|refusal| answer.contains(refusal)) {
        return Some(NO_OPTION);
    }
    let spaced: String = answer.chars().map(|c| if MARKS.contains(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = words(&spaced).collect();
    let position = |letter: char| words.iter().position(|word| word.chars().eq([letter]));
    let mut found = options.iter().filter_map(|(letter, _)| Some((*letter, position(*letter)?)));
    match (found.next(), found.next()) {
        // Its first mention must be among the last four words.
        (Some((letter, position)), None) => (position + 5 > words.len()).then_some(letter),
        (None, _) => position(NO_OPTION).map(|_| NO_OPTION),
        _ => None,
    }
}

fn by_text(answer: &str, options: &[(char, String)]) -> Option<char> {
    let answer = answer.to_lowercase();
    let all: usize = options.iter().map(|(_, text)| length(text)).sum();
    if length(&answer) > 2 * all {
        return None;
    }
    let mut contained = options.iter().filter(|(_, text)| answer.contains(&text.to_lowercase()));
    match (contained.next(), contained.next()) {
        (Some((letter, _)), None) => Some(*letter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_texts() {
        let options: Vec<(char, String)> =
            [('A', "10"), ('B', "100"), ('C', "a cat"), ('D', "dogs")].map(|(l, t)| (l, t.to_owned())).into();
        for (answer, expected) in [
            ("B", Some('B')),
            ("\\boxed{B}", Some('B')),
            ("**B**", Some('B')),
            ("<answer>B</answer>", None),
            ("$B$", None),
            ("B, C", None),
            ("A cat.", Some('A')),
            ("It is dogs", Some('D')),
            ("100", None),
            ("Option B is right because of this and that", None),
            ("Cannot determine the answer", Some('Z')),
            ("Z", Some('Z')),
            ("Failed to obtain answer via API: dogs", None),
            ("", None),
        ] {
            assert_eq!(infer(answer, &options), expected, "{answer}");
        }
    }
}
