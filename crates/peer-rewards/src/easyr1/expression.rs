//! Expressions as `mathruler` computes them, with sympy's relaxed grammar and few letters.

use std::collections::BTreeSet;

use reft_math::Reading;

/// Letters that an equation may have in all.
const MOST_LETTERS: usize = 2;

/// Whether the difference of two expressions is zero; never where there are more than two letters or high powers.
pub(super) fn equal(right: &str, given: &str) -> bool {
    let difference = format!("({right})-({given})");
    if !is_allowed(&difference) || ![right, given].into_iter().all(is_expression) {
        return false;
    }
    let (right, given) = (read(right), read(given));
    right.zip(given).is_some_and(|(right, given)| reft_math::readings_identical(&right, &given))
}

fn is_allowed(text: &str) -> bool {
    let bare = text.replace("sqrt", "").replace("frac", "");
    let letters: BTreeSet<char> = bare.chars().filter(|c| c.is_alphabetic()).collect();
    let powers = text.split('^').skip(1).collect::<Vec<_>>();
    let high = powers.iter().any(|power| {
        let digits = power.bytes().take_while(u8::is_ascii_digit).count();
        digits > 1 || power.starts_with(['{', '('])
    });
    // A single digit between two carets.
    let tower =
        powers.iter().rev().skip(1).any(|power| power.len() == 1 && power.as_bytes()[0].is_ascii_digit());
    letters.len() <= MOST_LETTERS && !high && !tower
}

/// Whether sympy reads it as a number or formula: no relations, lists or other marks.
fn is_expression(text: &str) -> bool {
    text.chars().all(|c| c.is_alphabetic() || c.is_ascii_digit() || "+-*/^().!_ ".contains(c))
}

/// Reads an expression with its products written out: letters behind a number are factors, not units.
fn read(text: &str) -> Option<Reading> {
    let text = text.replace("**", "^");
    let mut written = String::with_capacity(2 * text.len());
    let mut before = None;
    for c in text.chars() {
        if before.is_some_and(|b: char| b.is_ascii_digit() || b == ')') && (c.is_alphabetic() || c == '(') {
            written.push('*');
        }
        written.push(c);
        before = Some(c);
    }
    reft_math::read(&written)
}
