//! `mathruler`'s grading: two normal forms of text, then computation.

use super::{
    super::{
        python::{float, strip},
        vlm_r1::{Percent, hendrycks},
    },
    expression,
    latex_text::latex_to_text,
};

/// Units that are cut out of an answer, wherever they stand.
const UNITS: [&str; 16] = [
    "degree",
    "cm",
    "centimeter",
    "meter",
    "mile",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "foot",
    "feet",
    "inch",
    "yard",
];
/// Brackets of tuples and intervals.
const BRACKETS: [char; 4] = ['(', ')', '[', ']'];

/// Whether an answer is right.
pub(super) fn right(answer: &str, solution: &str) -> bool {
    if math_form(solution) == math_form(answer) {
        return true;
    }
    let (right, given) = (normal_form(solution), normal_form(answer));
    if right == given {
        return true;
    }
    if given.is_empty() {
        return false;
    }
    let (right_items, given_items) = (items(&right), items(&given));
    let ends = |text: &str| (text.chars().next(), text.chars().next_back());
    if right_items.len() != given_items.len() || (right_items.len() > 1 && ends(&right) != ends(&given)) {
        return false;
    }
    right_items.iter().zip(&given_items).all(|(right, given)| item_right(right, given))
}

/// One item: fractions must be the same text, whole numbers only equal whole numbers.
fn item_right(right: &str, given: &str) -> bool {
    if is_fraction(right) && is_fraction(given) {
        return right == given;
    }
    whole(right).is_some() == whole(given).is_some() && expression::equal(right, given)
}

/// The form of the MATH data set; an answer that it cannot take stays as it is.
fn math_form(text: &str) -> String {
    let text = strip(text);
    let text = text_content(text).map_or(text, strip);
    hendrycks(text, Percent::Drop).unwrap_or_else(|_| text.to_owned())
}

/// The content of a `\text{..}` around the whole.
fn text_content(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("\\text{")?.strip_suffix('}')?;
    (!inner.is_empty() && !inner.contains('\n')).then_some(inner)
}

fn normal_form(text: &str) -> String {
    let mut form = text_content(text).unwrap_or(text).to_owned();
    for (from, to) in [
        ("\\%", "%"),
        ("\\$", "$"),
        ("$", ""),
        ("%", ""),
        (" or ", " , "),
        (" and ", " , "),
        ("million", "*10^6"),
        ("billion", "*10^9"),
        ("trillion", "*10^12"),
    ] {
        form = form.replace(from, to);
    }
    for unit in UNITS {
        form = without_unit(&form, unit);
    }
    form = without_degrees(&form);
    if form.len() > 1 && form.starts_with('{') && form.ends_with('}') {
        form.pop();
        form.remove(0);
    }
    form = without(&form, ",\\!", |rest| rest.trim_start_matches(' '));
    if let Some(value) = float(&form).filter(|&value| is_whole(value)) {
        form = format!("{:.0}", value.round());
    }
    if form.contains('\\') {
        form = latex_to_text(&form);
    }
    form = mixed_numbers(&without_space_after_minus(&form));
    form = form.replace([' ', '{', '}'], "").to_lowercase();
    whole(&form).map_or(form, |value| format!("{:.0}", value.trunc()))
}

/// Takes every `mark` out, and what `after` takes off the text behind it.
fn without(text: &str, mark: &str, after: impl Fn(&str) -> &str) -> String {
    let mut pieces = text.split(mark);
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |form, piece| form + after(piece))
}

/// Takes a unit out, with its plural and its power.
fn without_unit(text: &str, unit: &str) -> String {
    without(text, unit, |rest| {
        let rest = rest.strip_prefix("es").unwrap_or(rest);
        let rest = rest.strip_prefix('s').unwrap_or(rest).trim_start_matches(' ');
        let power =
            rest.strip_prefix('^').map(|power| power.trim_start_matches(|c: char| c.is_ascii_digit()));
        // A caret without digits is no power of the unit.
        power.filter(|after| after.len() + 1 < rest.len()).unwrap_or(rest)
    })
}

/// Takes `^\circ` out, with spaces after the caret.
fn without_degrees(text: &str) -> String {
    let mut pieces = text.split("\\circ").peekable();
    let mut form = String::new();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            form.push_str(piece);
        } else if let Some(before) = piece.trim_end_matches(' ').strip_suffix('^') {
            form.push_str(before);
        } else {
            form.push_str(piece);
            form.push_str("\\circ");
        }
    }
    form
}

fn without_space_after_minus(text: &str) -> String {
    let mut pieces = text.split('-');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |form, piece| form + "-" + piece.trim_start_matches(' '))
}

/// `7 3/4` is a sum.
fn mixed_numbers(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut form = String::new();
    let mut at = 0;
    while at < chars.len() {
        form.push(chars[at]);
        // Spaces are counted behind a digit alone, so no run of them is counted twice.
        let behind = chars[at + 1..].iter();
        let is_space = |&&c: &&char| c == ' ';
        let space = if chars[at].is_ascii_digit() { behind.take_while(is_space).count() } else { 0 };
        let next = chars.get(at + 1 + space);
        if space > 0 && next.is_some_and(char::is_ascii_digit) {
            form.push('+');
            // The digit behind the space is spent, so `1 2 3` keeps its second space.
            form.extend(next);
            at += space + 1;
        }
        at += 1;
    }
    form
}

/// A whole number, thousands separators allowed.
fn whole(text: &str) -> Option<f64> {
    let value = float(&without_thousands(text))?;
    is_whole(value).then_some(value)
}

fn is_whole(value: f64) -> bool {
    value.is_finite() && (value - value.round()).abs() <= 1e-7
}

/// Takes commas out between a digit and exactly three digits.
fn without_thousands(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let separator = |at: usize| {
        bytes[at] == b','
            && at > 0
            && is_digit(at - 1)
            && (1..4).all(|step| is_digit(at + step))
            && !is_digit(at + 4)
    };
    text.char_indices().filter(|&(at, _)| !separator(at)).map(|(_, c)| c).collect()
}

/// The items of a tuple or interval; anything else is one item.
fn items(text: &str) -> Vec<String> {
    let text = without_thousands(text);
    if text.is_empty() {
        return Vec::new();
    }
    let inner = text.strip_prefix(BRACKETS).and_then(|rest| rest.strip_suffix(BRACKETS));
    match inner {
        Some(inner) if !inner.is_empty() && !inner.contains(BRACKETS) => {
            inner.split(',').map(|item| strip(item).to_owned()).collect()
        }
        _ => vec![text],
    }
}

/// `-1/2`: digits, perhaps one more character, a slash, a denominator other than zero, perhaps one more character.
fn is_fraction(text: &str) -> bool {
    let Some((numerator, denominator)) = text.strip_prefix('-').unwrap_or(text).split_once('/') else {
        return false;
    };
    let number = |part: &str, wanted: fn(&str) -> bool| {
        let shorter = part.char_indices().next_back().map(|(last, _)| &part[..last]);
        [Some(part), shorter].into_iter().flatten().any(wanted)
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let nonzero = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && part.bytes().any(|b| b != b'0')
    };
    number(numerator, digits) && number(denominator, nonzero)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million spaces would take hours if every one were counted from.
    #[test]
    fn mixed_numbers_are_found_in_one_pass() {
        assert_eq!(mixed_numbers("7 3/4, 1 2 3"), "7+3/4, 1+2 3");
        let spaces = " ".repeat(1_000_000);
        assert_eq!(mixed_numbers(&format!("1{spaces}2")), "1+2");
        assert_eq!(mixed_numbers(&format!("1{spaces}")), format!("1{spaces}"));
    }
}
