//! Numbers and expressions of digits and operators in running text.

use super::{
    super::python::{digit, is_space},
    Anchor, Content, Match, OutOfSteps, Steps, after_space, i_hope, starts_with, starts_with_word,
};

const CURRENCY: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";
/// Ends of one run of digits that are tried: the longest, and where that is not accepted the next shorter ones.
const MOST_ENDS: usize = 16;
const OPERATORS: &str = "+-*×/^()÷";

/// Every match behind an anchor, first those of expressions, then those of numbers.
pub(super) fn matches(text: &[char], anchor: Anchor, steps: &mut Steps) -> Result<Vec<Match>, OutOfSteps> {
    if anchor == Anchor::Anywhere {
        let mut found = every(text, steps, |text, at, steps| expression(text, at, steps, |_| true))?;
        found.extend(every(text, steps, |text, at, _| Ok(number(text, at, |_| true)))?);
        return Ok(found);
    }
    every(text, steps, |text, at, steps| match anchor {
        Anchor::FinalAnswerIHope => {
            if !starts_with_word(text, at, "final answer is") {
                return Ok(None);
            }
            for after in after_is(text, at + "final answer is".len()) {
                if let Some(found) = either(text, after, steps, |end| i_hope(text, end))? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        Anchor::FinalAnswerOrBoxed => {
            if !starts_with_word(text, at, "final answer") {
                return Ok(None);
            }
            for gap in within_line(text, at + "final answer".len(), 100) {
                steps.spend(1)?;
                let is = after_space(text, gap);
                if is > gap && starts_with(text, is, "is") {
                    for after in colon_first(text, is + 2) {
                        if let Some(found) = either(text, after, steps, |_| true)? {
                            return Ok(Some(found));
                        }
                    }
                }
            }
            Ok(None)
        }
        Anchor::AnswerColon | Anchor::Answer | Anchor::Anywhere => {
            let anchored = if anchor == Anchor::AnswerColon { "answer:" } else { "answer" };
            if !starts_with_word(text, at, anchored) {
                return Ok(None);
            }
            behind_answer(text, at + anchored.len(), steps)
        }
    })
}

/// Non-overlapping matches from left to right.
fn every(
    text: &[char],
    steps: &mut Steps,
    matcher: impl Fn(&[char], usize, &mut Steps) -> Result<Option<End>, OutOfSteps>,
) -> Result<Vec<Match>, OutOfSteps> {
    let mut found = Vec::new();
    let mut at = 0;
    while at <= text.len() {
        steps.spend(1)?;
        match matcher(text, at, steps)? {
            Some(end) => {
                found.push(Match { start: at, end: end.at, content: end.content });
                at = end.at.max(at + 1);
            }
            None => at += 1,
        }
    }
    Ok(found)
}

/// Where a match may end, and what it then holds.
struct End {
    at: usize,
    content: Content,
}

/// After "answer": the last `=` of the line within 100 characters, else anything within 50; never right before a `=`.
fn behind_answer(text: &[char], at: usize, steps: &mut Steps) -> Result<Option<End>, OutOfSteps> {
    let no_equals = |end: usize| text.get(after_space(text, end)) != Some(&'=');
    let equals = within_line(text, at, 100).filter(|&gap| text.get(gap) == Some(&'='));
    for gap in equals.collect::<Vec<_>>().into_iter().rev() {
        // White space goes to the anchor first, and back to the number when it needs some before it.
        for after in (gap + 1..=after_space(text, gap + 1)).rev() {
            steps.spend(1)?;
            if let Some(found) = either(text, after, steps, no_equals)? {
                return Ok(Some(found));
            }
        }
    }
    for gap in within_line(text, at, 50) {
        if let Some(found) = either(text, gap, steps, no_equals)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The places at most `most` characters after `at`, on the same line.
fn within_line(text: &[char], at: usize, most: usize) -> impl Iterator<Item = usize> + use<> {
    let line = text[at..].iter().take(most).take_while(|&&c| c != '\n').count();
    at..=at + line
}

/// After "is": past a colon where there is one, and also before it.
fn colon_first(text: &[char], at: usize) -> Vec<usize> {
    if text.get(at) == Some(&':') { vec![at + 1, at] } else { vec![at] }
}

/// [`colon_first`], and past white space, as much as possible first.
fn after_is(text: &[char], at: usize) -> Vec<usize> {
    colon_first(text, at).into_iter().flat_map(|at| (at..=after_space(text, at)).rev()).collect()
}

/// An expression, else a number, at `at`, whose end is accepted.
fn either(
    text: &[char],
    at: usize,
    steps: &mut Steps,
    accepted: impl Fn(usize) -> bool + Copy,
) -> Result<Option<End>, OutOfSteps> {
    Ok(expression(text, at, steps, accepted)?.or_else(|| number(text, at, accepted)))
}

/// What must stand before an expression or number: a text start, white space or `=`, then perhaps `**`.
fn prefixes(text: &[char], at: usize) -> Vec<usize> {
    let mut places = Vec::new();
    let starts =
        [(at == 0).then_some(at), text.get(at).is_some_and(|&c| is_space(c) || c == '=').then_some(at + 1)];
    for start in starts.into_iter().flatten() {
        if starts_with(text, start, "**") {
            places.push(start + 2);
        }
        places.push(start);
    }
    places
}

/// The longest expression at `at` whose end is accepted: one digit at least, then an operator, then more.
fn expression(
    text: &[char],
    at: usize,
    steps: &mut Steps,
    accepted: impl Fn(usize) -> bool,
) -> Result<Option<End>, OutOfSteps> {
    for start in prefixes(text, at) {
        let mut first = start;
        for mark in ['-', '(', '-'] {
            first += usize::from(text.get(first) == Some(&mark));
        }
        if text.get(first).is_none_or(|&c| digit(c).is_none()) {
            continue;
        }
        let run = text[first..].iter().take_while(|&&c| in_expression(c)).count();
        steps.spend(run)?;
        let Some(operator) = (first + 1..first + run).find(|&at| OPERATORS.contains(text[at])) else {
            continue;
        };
        for stop in (operator + 2..=first + run).rev() {
            steps.spend(1)?;
            let closed = text.get(stop) == Some(&')');
            let mut ends = closed
                .then_some(stop + 1)
                .into_iter()
                .chain([stop])
                .flat_map(|stop| suffixes(text, stop).into_iter().map(move |end| (stop, end)));
            if let Some((stop, end)) = ends.find(|&(_, end)| accepted(end)) {
                let content = Content::Expression(text[start..stop].iter().collect());
                return Ok(Some(End { at: end, content }));
            }
        }
    }
    Ok(None)
}

fn in_expression(c: char) -> bool {
    digit(c).is_some() || c == '.' || is_space(c) || OPERATORS.contains(c)
}

/// The ends after an expression: perhaps `**`, then a mark, white space or the text's end.
fn suffixes(text: &[char], at: usize) -> Vec<usize> {
    let stars: &[usize] = if starts_with(text, at, "**") { &[2, 0] } else { &[0] };
    stars
        .iter()
        .filter_map(|stars| match text.get(at + stars) {
            Some(&c) if ".,:)$".contains(c) || is_space(c) => Some(at + stars + 1),
            // `$` in a pattern also matches before a last line end, which the white space above covers.
            None => Some(at + stars),
            Some(_) => None,
        })
        .collect()
}

/// The best reading of a number at `at` whose end is accepted.
fn number(text: &[char], at: usize, accepted: impl Fn(usize) -> bool) -> Option<End> {
    prefixes(text, at).into_iter().find_map(|start| {
        let priced = text.get(start).is_some_and(|&c| CURRENCY.contains(c));
        literals(text, start + usize::from(priced)).into_iter().find_map(|(literal, stop)| {
            let with_percent = percent_end(text, stop).map(|end| (end, true));
            let (end, percent) =
                with_percent.into_iter().chain([(stop, false)]).find(|&(end, _)| accepted(end))?;
            Some(End { at: end, content: Content::Number { text: literal, percent } })
        })
    })
}

/// The readings of a literal, best first: grouped thousands, decimals, a bare fraction, digits; each then shorter.
fn literals(text: &[char], start: usize) -> Vec<(String, usize)> {
    let digits = |at: usize| text[at.min(text.len())..].iter().take_while(|&&c| digit(c).is_some()).count();
    let clean = |from: usize, to: usize| -> String {
        text[from..to].iter().filter(|&&c| c != ',' && c != ' ').collect()
    };
    let negative = text.get(start) == Some(&'-');
    let whole = start + usize::from(negative);
    let count = digits(whole);
    let mut found = Vec::new();
    let mut push = |integer: String, decimal: String, end: usize| {
        let integer = integer.trim_start_matches('0');
        let integer = if integer.is_empty() { "0" } else { integer };
        found.push((format!("{integer}{decimal}"), end));
    };
    if text.get(whole).is_some_and(|&c| ('1'..='9').contains(&c)) {
        let mut end = whole + count;
        let mut ends = Vec::new();
        while count <= 3 && matches!(text.get(end), Some(' ' | ',')) && digits(end + 1) >= 3 {
            end += 4;
            ends.push(end);
            if text.get(end).is_some_and(|&c| digit(c).is_some()) {
                break;
            }
        }
        for end in ends.into_iter().rev() {
            let fraction = if text.get(end) == Some(&'.') { digits(end + 1) } else { 0 };
            for fraction in (1..=fraction).rev().take(MOST_ENDS) {
                let stop = end + 1 + fraction;
                push(clean(start, end), text[end..stop].iter().collect(), stop);
            }
            push(clean(start, end), String::new(), end);
        }
    }
    if count > 0 && matches!(text.get(whole + count), Some('.' | ',')) {
        let point = whole + count;
        for fraction in (1..=digits(point + 1)).rev().take(MOST_ENDS) {
            let decimal: String = text[point + 1..point + 1 + fraction].iter().collect();
            push(clean(start, point), format!(".{decimal}"), point + 1 + fraction);
        }
    }
    if text.get(start) == Some(&'.') {
        for fraction in (1..=digits(start + 1)).rev().take(MOST_ENDS) {
            push(String::new(), text[start..start + 1 + fraction].iter().collect(), start + 1 + fraction);
        }
    }
    for count in (1..=count).rev().take(MOST_ENDS) {
        push(clean(start, whole + count), String::new(), whole + count);
    }
    found
}

/// Where a percent sign or word after `at` ends.
fn percent_end(text: &[char], at: usize) -> Option<usize> {
    let sign = after_space(text, at);
    ["%", "percent", "pct"].into_iter().find_map(|word| {
        let first_free = starts_with(text, sign, word)
            || (text.get(sign) == Some(&'P') && starts_with(text, sign + 1, &word[1..]));
        first_free.then(|| sign + word.chars().count())
    })
}
