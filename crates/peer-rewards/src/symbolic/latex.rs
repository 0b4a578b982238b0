//! Formulas in running text: `$..$`, `\[..\]`, `\(..\)`, `[..]`, bare fractions of numbers, and boxes.

use super::{
    super::python::{digit, is_space},
    Anchor, Content, Match, OutOfSteps, Steps, after_space, boxed, i_hope, starts_with, starts_with_word,
};
use reft_math::Reading;

/// One formula of a match.
pub(super) struct Formula {
    content: String,
    percent: bool,
    /// Found as a box, so that only the last of several boxes counts.
    last_box: bool,
}

/// Formulas that may be joined by commas and words.
const MOST_FORMULAS: usize = 6;

/// Every match behind an anchor.
pub(super) fn matches(text: &[char], anchor: Anchor, steps: &mut Steps) -> Result<Vec<Match>, OutOfSteps> {
    let mut found = every(text, steps, |text, at, steps| {
        let gap = |from: usize, most: usize| from..=(from + most).min(text.len());
        match anchor {
            Anchor::FinalAnswerIHope => {
                if !starts_with_word(text, at, "final answer is") {
                    return Ok(None);
                }
                let is = at + "final answer is".len();
                let colon = is + usize::from(text.get(is) == Some(&':'));
                let formulas = formulas(text, after_space(text, colon), Kind::Any, steps)?;
                Ok(formulas.filter(|&(_, end)| i_hope(text, end)))
            }
            Anchor::FinalAnswerOrBoxed => {
                if !starts_with_word(text, at, "final answer") {
                    return Ok(None);
                }
                for gap in gap(at + "final answer".len(), 100) {
                    steps.spend(1)?;
                    let is = after_space(text, gap);
                    if is > gap && starts_with(text, is, "is") {
                        let colon = is + 2 + usize::from(text.get(is + 2) == Some(&':'));
                        for after in (colon..=after_space(text, colon)).rev() {
                            if let Some(found) = formulas(text, after, Kind::Any, steps)? {
                                return Ok(Some(found));
                            }
                        }
                    }
                }
                Ok(None)
            }
            Anchor::AnswerColon | Anchor::Answer => {
                let anchored = if anchor == Anchor::AnswerColon { "answer:" } else { "answer" };
                if !starts_with_word(text, at, anchored) {
                    return Ok(None);
                }
                for gap in gap(at + anchored.len(), 50) {
                    if let Some(found) = formulas(text, gap, Kind::Any, steps)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            Anchor::Anywhere => formulas(text, at, Kind::Any, steps),
        }
    })?;
    if anchor == Anchor::FinalAnswerOrBoxed {
        found.extend(every(text, steps, |text, at, steps| formulas(text, at, Kind::Boxed, steps))?);
        found.extend(bare_box(text));
    }
    Ok(found)
}

/// What the formulas hold together, and the match as text.
pub(super) fn read(formulas: &[Formula]) -> (Option<Reading>, String) {
    let mut texts: Vec<String> = formulas
        .iter()
        .map(|formula| {
            let content = boxed::contents(&formula.content, formula.last_box);
            content.trim().trim_matches('$').trim().to_owned()
        })
        .collect();
    let mut values: Vec<Option<Reading>> =
        formulas.iter().zip(&texts).map(|(formula, text)| read_one(text, formula.percent)).collect();
    if values.len() > 1 && values.iter().all(Option::is_some) {
        return (Some(reft_math::set_of(values.into_iter().flatten())), texts.join(" and "));
    }
    // Where one of several cannot be read, the first alone counts. A match has one formula at least.
    (values.swap_remove(0), texts.swap_remove(0))
}

/// Characters that math-verify cannot read in a formula, and our reader can.
const UNREADABLE: [char; 8] = ['²', '³', '½', '√', '°', '?', '@', '#'];

/// A formula as mathematics; running text is a product of its letters, which equals nothing but itself.
fn read_one(text: &str, percent: bool) -> Option<Reading> {
    if text.contains(UNREADABLE) {
        return None;
    }
    let sign = if percent { "%" } else { "" };
    reft_math::read(&format!("{text}{sign}"))
        .or_else(|| is_running_text(text).then(|| reft_math::opaque(text)))
}

fn is_running_text(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || " ,.'!".contains(c));
    let points =
        text.match_indices('.').all(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    plain && points && text.contains(|c: char| c.is_ascii_alphanumeric())
}

type Found = Option<(Vec<Formula>, usize)>;

/// Non-overlapping matches from left to right.
fn every(
    text: &[char],
    steps: &mut Steps,
    matcher: impl Fn(&[char], usize, &mut Steps) -> Result<Found, OutOfSteps>,
) -> Result<Vec<Match>, OutOfSteps> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        steps.spend(1)?;
        match matcher(text, at, steps)? {
            Some((formulas, end)) => {
                found.push(Match { start: at, end, content: Content::Latex(formulas) });
                at = end.max(at + 1);
            }
            None => at += 1,
        }
    }
    Ok(found)
}

/// The one match of a box outside formulas: from the first `\boxed{` to the last `}` of the text.
fn bare_box(text: &[char]) -> Option<Match> {
    let open = "\\boxed{";
    let start = (0..text.len()).find(|&at| starts_with(text, at, open))?;
    let end = text.iter().rposition(|&c| c == '}')? + 1;
    (end > start + open.len() + 1).then(|| {
        let formula = Formula { content: text[start..end].iter().collect(), percent: false, last_box: true };
        Match { start, end, content: Content::Latex(vec![formula]) }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    /// Only formulas that hold a box.
    Boxed,
}

/// Up to six formulas from `at` on, joined by `,`, `and`, `or`; and where they end.
fn formulas(text: &[char], at: usize, kind: Kind, steps: &mut Steps) -> Result<Found, OutOfSteps> {
    let Some((first, mut end)) = formula(text, at, kind, steps)? else {
        return Ok(None);
    };
    let mut all = vec![first];
    while all.len() < MOST_FORMULAS {
        let Some(joint) = after_joint(text, after_space(text, end)) else {
            break;
        };
        let Some((next, after)) = joined(text, joint, kind, steps)? else {
            break;
        };
        all.push(next);
        end = after;
    }
    if kind == Kind::Boxed {
        end = after_space(text, end);
    }
    Ok(Some((all, end)))
}

/// The formula behind a joint; its `[` may need the last white space before it.
fn joined(
    text: &[char],
    joint: usize,
    kind: Kind,
    steps: &mut Steps,
) -> Result<Option<(Formula, usize)>, OutOfSteps> {
    for at in (joint..=after_space(text, joint)).rev() {
        if let Some(found) = formula(text, at, kind, steps)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn after_joint(text: &[char], at: usize) -> Option<usize> {
    [",and", "and", ",or", "or", ","]
        .into_iter()
        .find(|word| starts_with(text, at, word))
        .map(|word| at + word.len())
}

/// One formula at `at` with its percent sign, and where both end, white space included.
fn formula(
    text: &[char],
    at: usize,
    kind: Kind,
    steps: &mut Steps,
) -> Result<Option<(Formula, usize)>, OutOfSteps> {
    let Some((from, to, end)) = delimited(text, at, steps)?.or_else(|| {
        // A bare fraction is no box.
        (kind == Kind::Any).then(|| bare_fraction(text, at)).flatten()
    }) else {
        return Ok(None);
    };
    let content: String = text[from..to].iter().collect();
    if kind == Kind::Boxed && !holds_box(&content) {
        return Ok(None);
    }
    let end = after_space(text, end);
    let sign = ["\\%", "%", "percent", "Percent", "pct", "Pct"]
        .into_iter()
        .find(|sign| starts_with(text, end, sign));
    let formula = Formula { content, percent: sign.is_some(), last_box: false };
    Ok(Some((formula, end + sign.map_or(0, str::len))))
}

fn holds_box(content: &str) -> bool {
    let inner = content.split_once("\\boxed{").map(|(_, inner)| inner.chars());
    inner.is_some_and(|mut inner| inner.next().is_some() && inner.as_str().contains('}'))
}

/// Where the content of a delimited formula at `at` starts and ends, and where the formula ends.
fn delimited(
    text: &[char],
    at: usize,
    steps: &mut Steps,
) -> Result<Option<(usize, usize, usize)>, OutOfSteps> {
    let before = at.checked_sub(1).map(|at| text[at]);
    let (open, close, one_line) = match text.get(at) {
        Some('$') if before != Some('\\') && starts_with(text, at, "$$") => ("$$", "$$", false),
        Some('$') if before != Some('\\') && before.is_none_or(|c| digit(c).is_none()) => ("$", "$", true),
        Some('\\') if before != Some('\\') && starts_with(text, at, "\\[") => ("\\[", "\\]", false),
        Some('\\') if before != Some('\\') && starts_with(text, at, "\\(") => ("\\(", "\\)", true),
        Some(&c) if is_space(c) && text.get(at + 1) == Some(&'[') => {
            return bracketed(text, at + 2, steps);
        }
        _ => return Ok(None),
    };
    let from = at + open.len();
    let mut to = from;
    while to < text.len() {
        steps.spend(1)?;
        if starts_with(text, to, close) {
            if to > from && text[to - 1] != '\\' {
                return Ok(Some((from, to, to + close.len())));
            }
            // An escaped dollar is content of an inline formula; any other closing delimiter ends the search.
            if close != "$" || to == from {
                return Ok(None);
            }
        }
        if one_line && text[to] == '\n' {
            return Ok(None);
        }
        to += 1;
    }
    Ok(None)
}

/// `[..]` with white space on both sides and no bracket inside.
fn bracketed(
    text: &[char],
    from: usize,
    steps: &mut Steps,
) -> Result<Option<(usize, usize, usize)>, OutOfSteps> {
    let length = text[from..].iter().take_while(|&&c| !"[]\n".contains(c)).count();
    steps.spend(length)?;
    let to = from + length;
    let closed = text.get(to) == Some(&']') && text.get(to + 1).is_some_and(|&c| is_space(c));
    Ok((length > 0 && closed).then_some((from, to, to + 2)))
}

/// `-\frac{1}{2.5}` of plain numbers.
fn bare_fraction(text: &[char], at: usize) -> Option<(usize, usize, usize)> {
    let command = at + usize::from(text.get(at) == Some(&'-'));
    if !starts_with(text, command, "\\frac{") {
        return None;
    }
    let numerator = after_number(text, command + "\\frac{".len())?;
    if !starts_with(text, numerator, "}{") {
        return None;
    }
    let denominator = after_number(text, numerator + 2)?;
    (text.get(denominator) == Some(&'}')).then_some((at, denominator + 1, denominator + 1))
}

fn after_number(text: &[char], at: usize) -> Option<usize> {
    let digits = |at: usize| text[at.min(text.len())..].iter().take_while(|&&c| digit(c).is_some()).count();
    let whole = at + usize::from(text.get(at) == Some(&'-'));
    let end = whole + digits(whole);
    let fraction = if matches!(text.get(end), Some('.' | ',')) { digits(end + 1) } else { 0 };
    let end = if fraction > 0 { end + 1 + fraction } else { end };
    (end > whole).then_some(end)
}
