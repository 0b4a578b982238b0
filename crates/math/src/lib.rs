//! Mathematical equality of two written answers, native and bounded in time.
//!
//! Both texts are read as LaTeX or plain mathematics (`parse`), brought into an exact normal form where one exists
//! (rational functions over the rationals, with symbols, pi, e and roots of primes as generators; `exact`), and
//! otherwise probed numerically at fixed complex points with a tracked rounding error (`probe`).
//! Lists, sets, tuples, intervals, unions, matrices and relations are compared member by member (`compare`).
//!
//! The judge to agree with is math-verify 0.9, the field's verifier. Where it is inconsistent we are stricter, never
//! looser, on well-formed input:
//! - a decimal equals a number when both agree to six decimals, as there, *and* to one part in ten thousand, so
//!   `0.0000001` is not `0.0000002`;
//! - the whole answer must be mathematics: a number is never searched for inside a sentence;
//! - a unit may follow a number, but only one of a fixed list or inside `\text{..}`;
//! - sums, integrals and limits are not evaluated.
//!
//! Time is bounded by construction: texts over [`MAX_CHARS`] characters are only compared as text, nesting is limited,
//! and every arithmetic step is taken from a fixed budget; an answer that exceeds it is not equal.

mod atoms;
mod budget;
mod clean;
mod compare;
mod exact;
mod generator;
pub mod latex;
mod lex;
mod names;
mod node;
mod normal;
mod parse;
mod probe;
pub mod python;
mod rational;
mod trim;

/// Longest text that is read as mathematics.
pub const MAX_CHARS: usize = 2_000;

/// Whether `answer` is mathematically equal to the right answer `gold`.
///
/// Not symmetric: where only one side is an equation, `gold` decides what form is wanted (`x = 3` accepts `3`, and
/// `3` accepts `x = 3`, but `2x + z = 1` does not accept `1`).
///
/// ```
/// use reft_math::equal;
/// assert!(equal("\\frac{1}{2}", "0.5"));
/// assert!(equal("2\\sqrt{3}", "\\sqrt{12}"));
/// assert!(equal("x^2+2x+1", "(x+1)(x+1)"));
/// assert!(!equal("\\frac{1}{3}", "0.333"));
/// ```
pub fn equal(gold: &str, answer: &str) -> bool {
    let (gold, answer) = (clean::unwrap(gold), clean::unwrap(answer));
    if gold.is_empty() || answer.is_empty() {
        return false;
    }
    if clean::same_text(gold, answer) {
        return true;
    }
    let read = |text| parse::parse(text).ok();
    match (read(gold), read(answer)) {
        (Some(gold), Some(answer)) => compare::equal(&gold, &answer),
        _ => false,
    }
}

/// The value of a text that is a real number: literals, fractions, roots, powers, pi and functions of them.
///
/// ```
/// use reft_math::value;
/// assert_eq!(value("\\frac{7}{2}"), Some(3.5));
/// assert_eq!(value("x"), None);
/// ```
pub fn value(text: &str) -> Option<f64> {
    probe::real(&parse::parse(clean::unwrap(text)).ok()?)
}

/// A text that was read as mathematics, for rewards that find their answers by other rules.
#[derive(Clone, Debug)]
pub struct Reading(node::Node);

/// Reads a text that holds nothing but the answer.
pub fn read(text: &str) -> Option<Reading> {
    parse::parse(clean::unwrap(text)).ok().map(Reading)
}

/// A text that equals nothing but itself, spaces aside.
pub fn opaque(text: &str) -> Reading {
    Reading(node::Node::Symbol(text.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// The set of what several texts hold; sets among them are opened.
pub fn set_of(members: impl IntoIterator<Item = Reading>) -> Reading {
    let open = |Reading(member)| match member {
        node::Node::Set(members) => members,
        member => vec![member],
    };
    Reading(node::Node::Set(members.into_iter().flat_map(open).collect()))
}

/// [`equal`] of two readings.
pub fn readings_equal(gold: &Reading, answer: &Reading) -> bool {
    compare::equal(&gold.0, &answer.0)
}

/// Whether two readings are the same value, without any leniency.
pub fn readings_identical(a: &Reading, b: &Reading) -> bool {
    compare::identical(&a.0, &b.0)
}

/// Why a text has no value that could be compared. Never shown: it only makes two answers unequal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The text is not mathematics that we read.
    Unread,
    /// Too long, too deep or too much arithmetic.
    TooHard,
    /// A division by zero, or a set where a number is needed.
    Undefined,
}
