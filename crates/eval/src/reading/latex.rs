//! The answer of MATH-Vision in its normal form, and equality after rounding.
//!
//! Source: mathllms/MATH-V at a1f5cc3, `evaluation/utils.py`, as lmms-eval 0.7.3 has it in `tasks/mathvision`. The
//! original computes with latex2sympy and Python's `eval`; ours with [`value`].

use std::sync::LazyLock;

use reft_math::python::{rounded_text, strip};
use regex::Regex;

use super::{
    last_box, pattern,
    value::{Names, value},
};

/// Decimals to which values are compared.
const PLACES: usize = 2;

/// What is compared of an answer: the content of its box, without units, spaces and notation.
pub(crate) fn normal(text: &str) -> String {
    let text = text.to_lowercase().replace("{}", "");
    // Greedy: from the first `oxed{` to the last brace.
    let boxed = text.split_once("oxed{").and_then(|(_, rest)| Some(&rest[..rest.rfind('}')?]));
    let mut answer = boxed.unwrap_or(&text).to_owned();
    if let Some(close) = answer.find('}')
        && answer.find('{').is_none_or(|open| close < open)
    {
        answer.truncate(close);
    }
    let answer = after_last(after_last(&answer, "="), "\\approx");
    let mut answer = answer.to_owned();
    for (from, to) in [
        (" ", ""),
        ("\\,", ""),
        ("∞", "\\infty"),
        ("+\\infty", "\\infty"),
        ("\\\\", "\\"),
        ("\n", ""),
        ("\\text", ""),
        ("\\mbox", ""),
        ("bmatrix", "pmatrix"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("{m}^3", ""),
        ("m^3", ""),
        ("{units}", ""),
        ("units", ""),
        ("{km}", ""),
        ("km", ""),
    ] {
        answer = answer.replace(from, to);
    }
    stripped(&answer)
}

fn after_last<'a>(text: &'a str, mark: &str) -> &'a str {
    text.rsplit_once(mark).map_or(text, |(_, rest)| rest)
}

/// The second half of the clean-up, which other projects know as `strip_string` of the MATH data set.
fn stripped(text: &str) -> String {
    let mut text = text.to_owned();
    for (from, to) in [
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
        ("$", ""),
    ] {
        text = text.replace(from, to);
    }
    let mut text = text.split("\\text{ ").next().unwrap_or_default().to_owned();
    for (from, to) in [("\\%", ""), (" .", " 0."), ("{.", "{0.")] {
        text = text.replace(from, to);
    }
    if text.is_empty() {
        return text;
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    for mark in ["=", "\\approx"] {
        let sides: Vec<&str> = text.split(mark).collect();
        if let [_, right] = sides[..] {
            text = String::from(right);
        }
    }
    let has_root = text.contains("sqrt");
    if has_root {
        text = braced_roots(&text);
    }
    text = text.replace(' ', "");
    if has_root {
        text = braced_fractions(&text);
    }
    if text == "0.5" {
        text = String::from("\\frac{1}{2}");
    }
    slash_fraction(&text).unwrap_or(text)
}

/// `\sqrt3` as `\sqrt{3}`.
fn braced_roots(text: &str) -> String {
    let mut pieces = text.split("\\sqrt");
    let mut braced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        braced.push_str("\\sqrt");
        match piece.chars().next() {
            Some(first) if first != '{' => {
                braced.extend(['{', first, '}']);
                braced.push_str(&piece[first.len_utf8()..]);
            }
            _ => braced.push_str(piece),
        }
    }
    braced
}

/// `\frac12` as `\frac{1}{2}`; the text as it is where a fraction is too short.
fn braced_fractions(text: &str) -> String {
    let mut pieces = text.split("\\frac");
    let mut braced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        braced.push_str("\\frac");
        if piece.starts_with('{') {
            braced.push_str(piece);
            continue;
        }
        let mut chars = piece.chars();
        let (Some(above), Some(below)) = (chars.next(), chars.next()) else { return text.to_owned() };
        braced.extend(['{', above, '}']);
        if below == '{' {
            braced.push('{');
        } else {
            braced.extend(['{', below, '}']);
        }
        braced.push_str(chars.as_str());
    }
    braced
}

/// `525/2` as a fraction; none unless both sides are whole numbers as they would be written.
fn slash_fraction(text: &str) -> Option<String> {
    let (above, below) = text.split_once('/')?;
    let is_written = |part: &str| reft_math::python::int(part).is_some_and(|int| int == part);
    (is_written(above) && is_written(below)).then(|| format!("\\frac{{{above}}}{{{below}}}"))
}

/// Whether two answers are equal: as text, as tuples of rounded values, or as values rounded to two decimals.
pub(crate) fn equal(a: &str, b: &str, names: Names) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    if a.replace(' ', "").is_empty() || b.replace(' ', "").is_empty() {
        return false;
    }
    if strip(&a) == strip(&b) {
        return true;
    }
    let (a, b) = (rounded_items(&a, names), rounded_items(&b, names));
    let rounded =
        |text: &str| value(text, names).and_then(|value| rounded_text(value.x, PLACES).parse::<f64>().ok());
    a == b || matches!((rounded(&a), rounded(&b)), (Some(a), Some(b)) if a == b)
}

/// A tuple or list with its items rounded; the text as it is where one has no value.
fn rounded_items(text: &str, names: Names) -> String {
    let brackets = [('(', ')'), ('[', ']')];
    let Some((open, close)) =
        brackets.into_iter().find(|&(open, close)| text.starts_with(open) && text.ends_with(close))
    else {
        return text.to_owned();
    };
    if text.len() < 2 {
        return text.to_owned();
    }
    let items: Vec<&str> = text[1..text.len() - 1].split(',').collect();
    if items.len() < 2 {
        return text.to_owned();
    }
    let written = |item: &&str| {
        if item.contains("infty") || ["a", "-a"].contains(item) {
            return Some((*item).to_owned());
        }
        let value = value(item, names)?;
        Some(if value.is_whole { format!("{:.0}", value.x) } else { rounded_text(value.x, PLACES) })
    };
    match items.iter().map(written).collect::<Option<Vec<_>>>() {
        Some(items) => format!("{open}{}{close}", items.join(",")),
        None => text.to_owned(),
    }
}

/// Whether VLMEvalKit takes two answers for equal: as text, or as values within 1e-6. It runs both as Python first, which
/// ours does not, and then reads them with latex2sympy2_extended, which opens the last box.
pub(crate) fn close(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let (a, b) = (strip(&a), strip(&b));
    let read = |text: &str| value(&opened(text), Names::Lost);
    a == b || matches!((read(a), read(b)), (Some(a), Some(b)) if (a.x - b.x).abs() < 1e-6)
}

/// The content of the only box or the text, what follows `\approx`, without degrees and text commands; a mixed number as
/// a sum. A percentage has no value, and neither has an equation.
fn opened(text: &str) -> String {
    static MIXED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\d+)\s*(\\[td]?frac\{\d+\}\{\d+\})"));
    let boxed = last_box(text).filter(|_| text.matches("\\boxed{").count() == 1);
    let side = after_last(boxed.unwrap_or(text), "\\approx");
    let mut plain = side.replace("\\%", "%");
    for mark in ["^\\circ", "^{\\circ}", "\\text", "\\mathrm"] {
        plain = plain.replace(mark, "");
    }
    MIXED.replace_all(&plain, "($1+$2)").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (text, expected) in [
            ("$4 \\pi$", "4\\pi"),
            ("so x = \\boxed{\\frac{16}{7}}", "\\frac{16}{7}"),
            ("525/2", "\\frac{525}{2}"),
            ("0.5", "\\frac{1}{2}"),
            ("2\\sqrt3", "2\\sqrt{3}"),
            ("69^{\\circ}", "69"),
            ("(a)", "(a)"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn equality_rounds() {
        assert!(equal("45", "45.004", Names::Known) && !equal("45", "45.02", Names::Known));
        assert!(equal("2\\sqrt{3}", "\\sqrt{12}", Names::Known));
        assert!(!equal("2\\sqrt{3}", "\\sqrt{12}", Names::Lost));
        assert!(equal("(1,2)", "(1,4-2)", Names::Known));
        assert!(!equal("", "", Names::Known));
        assert!(close("0.5", "\\frac{1}{2}") && !close("0.5", "0.50001"));
    }
}
