//! What is taken off before the grammar starts: units, names of the value, words that are no formula.

use super::{
    lex::{GLUED_I, Token},
    node::Node,
};

/// Units that may follow a number (a subset of math-verify's), singular.
const UNITS: [&str; 44] = [
    "acre", "apple", "cc", "cent", "cm", "coin", "day", "deg", "degree", "dm", "edge", "feet", "ft",
    "gallon", "g", "gm", "hectare", "hour", "hr", "inch", "inche", "kg", "km", "kmh", "kmph", "lb", "liter",
    "litre", "m", "meter", "metre", "mile", "min", "minute", "mm", "month", "mph", "ohm", "pound", "sec",
    "second", "student", "unit", "year",
];

/// A text of letters and spaces alone, perhaps in brackets: `Monday`, `(B)`, `no solution`.
pub(super) fn words(text: &str) -> Option<Node> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let has_letters = inner.contains(|c: char| c.is_ascii_alphabetic());
    if !has_letters || !inner.chars().all(|c| c.is_ascii_alphabetic() || c == ' ') {
        return None;
    }
    if inner.split(' ').any(|word| ["and", "or", "infinity", "inf", "sqrt", "percent"].contains(&word)) {
        return None;
    }
    let letters = inner.chars().filter(|c| *c != ' ');
    let product = letters.clone().map(|c| (letter(c), false)).collect();
    Some(Node::Words {
        text: letters.collect::<String>().to_lowercase(),
        product: Box::new(Node::Product(product)),
    })
}

/// Removes a unit after a number: `12cm`, `90\text{ cm}^2`.
pub(super) fn drop_unit(tokens: &mut Vec<Token>) {
    let mut end = tokens.len();
    if let [.., Token::Text(_), Token::Mark('^'), Token::Number { .. }] = tokens[..] {
        end -= 2;
    } else if let [
        ..,
        Token::Text(_),
        Token::Mark('^'),
        Token::Mark('{'),
        Token::Number { .. },
        Token::Mark('}'),
    ] = tokens[..]
    {
        end -= 4;
    }
    let is_unit = match &tokens[..end] {
        [_, .., Token::Text(_)] => true,
        [.., Token::Number { .. } | Token::Mark('}'), Token::Word(word)] if end == tokens.len() => {
            UNITS.contains(&word.as_str())
                || word.strip_suffix('s').is_some_and(|one| one.len() > 1 && UNITS.contains(&one))
        }
        _ => false,
    };
    if is_unit {
        tokens.truncate(end - 1);
    }
}

/// Removes what only names the value: `x \in`, `x \approx`, `\approx`.
pub(super) fn drop_name(tokens: &mut Vec<Token>) {
    let names = |token: &Token| matches!(token, Token::Command(name) if name == "approx" || name == "in");
    match &tokens[..] {
        [Token::Word(name), sign, ..] if name.len() == 1 && names(sign) => drop(tokens.drain(..2)),
        [Token::Command(name), ..] if name == "approx" => drop(tokens.drain(..1)),
        _ => {}
    }
}

/// Words as single letters: `xy` is `x` times `y`.
pub(super) fn split_words(tokens: Vec<Token>) -> Vec<Token> {
    let mut split = Vec::with_capacity(tokens.len());
    for token in tokens {
        match token {
            Token::Word(word) => {
                let glued = |c| if c == 'i' && word.len() > 1 { GLUED_I } else { c };
                split.extend(word.chars().map(|c| Token::Word(glued(c).to_string())));
            }
            token => split.push(token),
        }
    }
    split
}

/// Variables are read without case, as math-verify does; only Euler's `e` is not a capital's.
fn letter(c: char) -> Node {
    if c == 'e' { Node::E } else { Node::Symbol(c.to_lowercase().to_string()) }
}
