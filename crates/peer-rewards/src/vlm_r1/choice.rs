//! Multiple choice by a heuristic for the letter that is meant.

use std::collections::HashMap;

use super::super::{
    PeerRow,
    python::{is_space, strip},
    tags::{Span, first_answer},
};

/// Words near a letter that speak for it, in upper case.
const KEYWORDS: [&str; 16] = [
    "答案", "选择", "正确", "是", "对", "ANSWER", "CORRECT", "CHOOSE", "SELECT", "RIGHT", "认为", "应该",
    "觉得", "THINK", "BELIEVE", "SHOULD",
];

/// Pays 1 when both answers mean the same single letter, else 0.
///
/// What it gets wrong: one letter is picked of several, so `A B` is right for `A, B` and `A, A, B` is wrong; every
/// letter of the alphabet is an option, and the last letter of a lower-case word at the end may count.
pub(in super::super) fn mcq(row: &PeerRow<'_>) -> f64 {
    let solution = strip(first_answer(row.solution, Span::Line).unwrap_or(row.solution));
    let answer = strip(first_answer(row.completion, Span::Lines).unwrap_or(row.completion));
    let right = choice(solution).map_or_else(|| strip(row.solution).to_owned(), String::from);
    f64::from(choice(answer).is_some_and(|given| String::from(given) == right))
}

/// The letter that a text means: one without a letter before it and with a mark or the end behind it; of several, the
/// one with the most signs (keywords within 20 characters, the last 30 % of the text, a mark right behind).
pub(super) fn choice(text: &str) -> Option<char> {
    let text = single_spaced(&text.to_uppercase());
    let options: Vec<char> = text
        .iter()
        .enumerate()
        .filter(|&(at, c)| {
            let before = at.checked_sub(1).map(|at| text[at]);
            let after = text.get(at + 1);
            c.is_ascii_uppercase()
                && !before.is_some_and(|c| c.is_ascii_uppercase())
                && after.is_none_or(|&c| ".,?!:;".contains(c))
        })
        .map(|(_, &c)| c)
        .collect();
    let (&first, rest) = options.split_first()?;
    if rest.is_empty() {
        return Some(first);
    }
    let mut scores: HashMap<char, usize> = HashMap::new();
    for &option in &options {
        // Where the letter stands first, which may be inside a word.
        let at = text.iter().position(|&c| c == option)?;
        let near: String = text[at.saturating_sub(20)..text.len().min(at + 20)].iter().collect();
        let keywords = KEYWORDS.iter().filter(|&&word| near.contains(word)).count();
        let late = if at as f64 > text.len() as f64 * 0.7 { 2 } else { 0 };
        let marked = usize::from(text.get(at + 1).is_some_and(|&c| "。.!！,，".contains(c)));
        *scores.entry(option).or_default() += keywords + late + marked;
    }
    let most = scores.values().max()?;
    options.into_iter().find(|option| scores.get(option) == Some(most))
}

/// Runs of white space as one space.
fn single_spaced(text: &str) -> Vec<char> {
    let mut spaced = Vec::new();
    for c in text.chars() {
        if !is_space(c) {
            spaced.push(c);
        } else if spaced.last() != Some(&' ') {
            spaced.push(' ');
        }
    }
    spaced
}
