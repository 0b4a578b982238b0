//! The string match of DAPO (Yu et al. 2025, arXiv 2503.14476), with the normal form of Minerva (Lewkowycz et al. 2022,
//! arXiv 2206.14858, appendix D).

use super::super::{
    PeerRow,
    python::{digit, is_space, strip},
};

/// What is exchanged first, in this order: articles, spaces, names of text commands.
const EXCHANGED: [(&str, &str); 10] = [
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// What is dropped next, in this order: units, counted things, spacing.
const DROPPED: [&str; 40] = [
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
    "\"",
];

/// Pays 1 when what follows the last `Answer:` has the solution's normal form, else -1.
///
/// What it gets wrong: `5.0` is not `5` and `50%` not `50`; `a` and `an` are cut out of words that end so, spaces
/// follow; units are cut out of words, so `ways` leaves `always` as `al`.
pub(in super::super) fn dapo(row: &PeerRow<'_>) -> f64 {
    let answer = last_answer(row.completion).unwrap_or("[INVALID]");
    if normal_form(answer) == normal_form(row.solution) { 1.0 } else { -1.0 }
}

/// The rest of the line behind the last `Answer:`, in any case; the line may be the next one.
fn last_answer(text: &str) -> Option<&str> {
    let mut last = None;
    let mut at = 0;
    while let Some(found) = find_word(&text[at..], "answer") {
        let word_end = at + found + "answer".len();
        at = word_end;
        let Some(rest) = text[word_end..].trim_start_matches(is_space).strip_prefix(':') else {
            continue;
        };
        let content = rest.trim_start_matches(is_space);
        let content = if content.is_empty() {
            // Only white space is left: as little of it as one character that does not end the line.
            rest.rfind(|c| c != '\n').map_or("", |last| &rest[last..])
        } else {
            content
        };
        let line = content.split('\n').next().unwrap_or_default();
        if !line.is_empty() {
            last = Some(line);
            at = text.len() - content.len() + line.len();
        }
    }
    last
}

fn find_word(text: &str, word: &str) -> Option<usize> {
    text.as_bytes().windows(word.len()).position(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

fn normal_form(text: &str) -> String {
    let mut form = text.rsplit('=').next().unwrap_or_default().to_owned();
    for (from, to) in EXCHANGED {
        form = form.replace(from, to);
    }
    for dropped in DROPPED.into_iter().chain(["\\dots"]) {
        form = form.replace(dropped, "");
    }
    form = form.split('\n').map(between_dollars).collect::<Vec<_>>().join("\n");
    for command in ["\\text{", "\\textbf{", "\\overline{"] {
        form = without_command(&form, command);
    }
    form = form.split('\n').map(without_box).collect::<Vec<_>>().join("\n");
    form = with_braces(&form, "frac", 2);
    form = with_braces(&form, "sqrt", 1).replace('$', "");
    let digits = form.replace(',', "");
    if !digits.is_empty() && digits.chars().all(|c| digit(c).is_some() || "²³¹".contains(c)) {
        form = digits;
    }
    strip(&form).to_owned()
}

/// The first formula of a line stands for the line.
fn between_dollars(line: &str) -> String {
    let formula = line.split_once('$').and_then(|(_, rest)| rest.split_once('$'));
    formula.map_or_else(|| line.to_owned(), |(inner, _)| format!("${inner}$"))
}

/// Takes a command with its braces off, where it closes on the same line.
fn without_command(text: &str, command: &str) -> String {
    let mut form = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(command) {
        form.push_str(before);
        match after.split_once('}') {
            Some((inner, after)) if !inner.contains('\n') => {
                form.push_str(inner);
                rest = after;
            }
            _ => {
                form.push_str(command);
                rest = after;
            }
        }
    }
    form + rest
}

/// Takes `\boxed{..}` off, up to the last brace of the line.
fn without_box(line: &str) -> String {
    let parts = line.split_once("\\boxed{").and_then(|(before, after)| {
        let (inner, after) = after.rsplit_once('}')?;
        Some(format!("{before}{inner}{after}"))
    });
    parts.unwrap_or_else(|| line.to_owned())
}

/// Braces around single characters behind a word; the first is no brace, the last no line end.
fn with_braces(text: &str, word: &str, arguments: usize) -> String {
    let mut form = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        form.push_str(before);
        form.push_str(word);
        let mut chars = after.chars();
        let first = chars.next().filter(|&c| c != '{');
        let second = if arguments == 2 { chars.next().filter(|&c| c != '\n') } else { None };
        rest = after;
        if let Some(first) = first
            && (arguments == 1 || second.is_some())
        {
            form.extend(['{', first, '}']);
            if let Some(second) = second {
                form.extend(['{', second, '}']);
            }
            rest = chars.as_str();
        }
    }
    form + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_by_hand() {
        for (text, expected) in [
            ("Answer: 5", Some("5")),
            ("answer :\n 5 \n6", Some("5 ")),
            ("Answer: 4\nANSWER: 5", Some("5")),
            ("Answer: ", Some(" ")),
            ("Answer:\n", None),
            ("Answer 5", None),
            ("Answer: the answer: 5", Some("the answer: 5")),
        ] {
            assert_eq!(last_answer(text), expected, "{text:?}");
        }
    }

    #[test]
    fn normal_forms_by_hand() {
        for (text, expected) in [
            ("x = 5 cm", "5"),
            ("so $60^\\circ$.", "60"),
            ("\\frac12", "\\frac{1}{2}"),
            ("\\sqrt3", "\\sqrt{3}"),
            ("\\boxed{1,000}", "1000"),
            ("\\text{a cat}", "cat"),
            ("1,5", "15"),
        ] {
            assert_eq!(normal_form(text), expected, "{text}");
        }
    }
}
