//! Equality of two read answers, with the rules of math-verify's grader where they are sound.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed as _, ToPrimitive as _};

use super::{
    Refusal,
    budget::Budget,
    exact::Exact,
    node::{Node, Relation},
    normal::normal,
    probe,
};

/// Largest list whose members are matched in any order.
const MAX_MEMBERS: usize = 64;
/// Decimals agree when they are equal after rounding to this many places ...
const DECIMAL_PLACES: u32 = 6;
/// ... and their relative difference is at most one in this many.
const RELATIVE: i64 = 10_000;

/// Whether an answer equals the right answer.
pub(super) fn equal(gold: &Node, answer: &Node) -> bool {
    same(gold, answer, &mut Budget::new()).unwrap_or(false)
}

/// Whether two values differ by exactly nothing: no rounding of decimals, no percent signs, no names.
pub(super) fn identical(a: &Node, b: &Node) -> bool {
    let mut budget = Budget::new();
    let values = normal(a, &mut budget).and_then(|exact| Ok((exact, normal(b, &mut budget)?)));
    values.is_ok_and(|exact| values_equal((a, &exact.0), (b, &exact.1), &mut budget).unwrap_or(false))
}

fn same(gold: &Node, answer: &Node, budget: &mut Budget) -> Result<bool, Refusal> {
    budget.spend(10)?;
    let (gold, answer) = match (gold.is_equation(), answer.is_equation()) {
        // `3` accepts `x = 3`.
        (false, true) => (gold, answer.last_side()),
        // `x = 3` accepts `3`, but `2x + z = 1` does not accept `1`.
        (true, false) if gold.is_assignment() => (gold.last_side(), answer),
        _ => (gold, answer),
    };
    if let Some(values) = both_signs(gold, budget)? {
        return same(&values, answer, budget);
    }
    if let Some(values) = both_signs(answer, budget)? {
        return same(gold, &values, budget);
    }
    match (gold, answer) {
        // `\text{true}` is a truth value to math-verify, the bare word is none.
        (Node::Words { text: a, .. }, Node::Words { text: b, .. }) if a == b => Ok(a != "true"),
        (
            Node::Relation { sides: left, relations: gold_relations },
            Node::Relation { sides: right, relations: answer_relations },
        ) => {
            if gold.is_assignment() && answer.is_assignment() {
                // A chain `x = 2 + 3 = 5` says what its ends say.
                return ends_equal(left, right, budget);
            }
            relations_equal((left, gold_relations), (right, answer_relations), budget)
        }
        (Node::Relation { sides, relations }, _) => match interval(sides, relations) {
            Some(interval) => same(&interval, answer, budget),
            None => Ok(false),
        },
        (_, Node::Relation { .. }) => Ok(false),
        (Node::Matrix(a), Node::Matrix(b)) => {
            let shapes = |rows: &[Vec<Node>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
            if shapes(a) != shapes(b) {
                return Ok(false);
            }
            pairwise(a.iter().flatten(), b.iter().flatten(), budget)
        }
        (
            Node::Sequence { open, items, close },
            Node::Sequence { open: answer_open, items: answer_items, close: answer_close },
        ) => {
            if (open, close) != (answer_open, answer_close) || items.len() != answer_items.len() {
                return Ok(false);
            }
            pairwise(items.iter(), answer_items.iter(), budget)
        }
        // A tuple accepts its members in order without brackets. Closed intervals are no tuples.
        (Node::Sequence { open, items, close }, Node::Set(members)) => {
            let is_tuple = (*open, *close) == ('(', ')') || items.len() > 2;
            // Without brackets it is a set, where equal members are one.
            let repeats = (1..members.len()).any(|at| members[..at].contains(&members[at]));
            if !is_tuple || repeats || items.len() != members.len() {
                return Ok(false);
            }
            pairwise(items.iter(), members.iter(), budget)
        }
        (Node::Set(members), Node::Sequence { open: '(', items, close: ')' }) => {
            matched(members, items, budget)
        }
        (Node::Set(a), Node::Set(b)) | (Node::Union(a), Node::Union(b)) => matched(a, b, budget),
        (Node::Set(members), scalar) | (scalar, Node::Set(members)) if members.len() == 1 => {
            same(&members[0], scalar, budget)
        }
        (gold, answer) => scalars_equal(gold, answer, budget),
    }
}

/// The two values of `a \pm b`.
fn both_signs(node: &Node, budget: &mut Budget) -> Result<Option<Node>, Refusal> {
    let Node::PlusMinus { terms, step } = node else { return Ok(None) };
    budget.spend(node.size())?;
    let with_sign = |minus| {
        let mut terms = terms.clone();
        terms.push(((**step).clone(), minus));
        if minus || terms.len() > 1 { Node::Sum(terms) } else { terms.swap_remove(0).0 }
    };
    Ok(Some(Node::Set(vec![with_sign(false), with_sign(true)])))
}

fn pairwise<'a>(
    left: impl Iterator<Item = &'a Node>,
    right: impl Iterator<Item = &'a Node>,
    budget: &mut Budget,
) -> Result<bool, Refusal> {
    for (a, b) in left.zip(right) {
        if !same(a, b, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Members equal in some order.
fn matched(gold: &[Node], answer: &[Node], budget: &mut Budget) -> Result<bool, Refusal> {
    if gold.len() != answer.len() || gold.len() > MAX_MEMBERS {
        return Ok(false);
    }
    let mut free: Vec<&Node> = answer.iter().collect();
    for member in gold {
        let mut place = None;
        for (at, candidate) in free.iter().enumerate() {
            // `x = 2, x = 3` names two values; `2x = 2` among others names none.
            let names = !candidate.is_equation() || candidate.is_assignment() || member.is_equation();
            if names && same(member, candidate, budget)? {
                place = Some(at);
                break;
            }
        }
        match place {
            Some(at) => drop(free.swap_remove(at)),
            None => return Ok(false),
        }
    }
    Ok(true)
}

fn ends_equal(left: &[Node], right: &[Node], budget: &mut Budget) -> Result<bool, Refusal> {
    let ends = |sides: &[Node]| sides.first().cloned().zip(sides.last().cloned());
    let (Some((name, value)), Some((other_name, other_value))) = (ends(left), ends(right)) else {
        return Ok(false);
    };
    // Sides that are sets or tuples have no difference, but can be compared one by one.
    if same(&name, &other_name, budget).unwrap_or(false) && same(&value, &other_value, budget)? {
        return Ok(true);
    }
    let (sides, other_sides) = ((&name, &value), (&other_name, &other_value));
    Ok(differences_equal(sides, other_sides, budget).unwrap_or(false)
        || same_solutions(sides, other_sides, budget).unwrap_or(false))
}

type Sides<'a> = (&'a Node, &'a Node);

fn relations_equal(
    (left, gold): (&[Node], &[Relation]),
    (right, answer): (&[Node], &[Relation]),
    budget: &mut Budget,
) -> Result<bool, Refusal> {
    if gold.len() != answer.len() {
        return Ok(false);
    }
    if let ([a, b], [c, d], [Relation::Equal], [Relation::Equal]) = (left, right, gold, answer) {
        return Ok(differences_equal_up_to_sign((a, b), (c, d), Relation::Equal, budget)?
            || same_solutions((a, b), (c, d), budget)?);
    }
    for (at, (gold, answer)) in gold.iter().zip(answer).enumerate() {
        let (a, b) = ((&left[at], &left[at + 1]), (&right[at], &right[at + 1]));
        let forward = gold == answer && differences_equal_up_to_sign(a, b, *gold, budget)?;
        let backward = *gold == answer.flipped() && differences_equal(a, (b.1, b.0), budget)?;
        if !forward && !backward {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `a - b = c - d`; for `=` and `!=` the negated difference says the same.
fn differences_equal_up_to_sign(
    a: Sides<'_>,
    b: Sides<'_>,
    relation: Relation,
    budget: &mut Budget,
) -> Result<bool, Refusal> {
    if differences_equal(a, b, budget)? {
        return Ok(true);
    }
    let symmetric = matches!(relation, Relation::Equal | Relation::NotEqual);
    Ok(symmetric && differences_equal(a, (b.1, b.0), budget)?)
}

fn differences_equal(a: Sides<'_>, b: Sides<'_>, budget: &mut Budget) -> Result<bool, Refusal> {
    let difference = |(left, right): Sides<'_>| Node::Sum(vec![(left.clone(), false), (right.clone(), true)]);
    let (a, b) = (difference(a), difference(b));
    let exact = (normal(&a, budget)?, normal(&b, budget)?);
    // `0 = 0` says nothing, whatever it is compared with.
    if exact.0.is_zero() || exact.1.is_zero() {
        return Ok(false);
    }
    values_equal((&a, &exact.0), (&b, &exact.1), budget)
}

/// Whether two equations in the same variables say the same, up to a factor that is not zero: `2x + 4y = 3` and
/// `y = 3/4 - x/2`, `xy = 6` and `y = 6/x`. In one variable an equation names its value, and math-verify wants it named.
fn same_solutions(a: Sides<'_>, b: Sides<'_>, budget: &mut Budget) -> Result<bool, Refusal> {
    let difference = |(left, right): Sides<'_>, budget: &mut Budget| {
        normal(left, budget)?.add(&normal(right, budget)?.negate(), budget)
    };
    let (a, b) = (difference(a, budget)?, difference(b, budget)?);
    a.has_zeros_of(&b, budget)
}

/// The interval that an inequality of one variable describes: `x < 3`, `1 <= x < 2`.
fn interval(sides: &[Node], relations: &[Relation]) -> Option<Node> {
    let infinity = || Node::Symbol("∞".to_owned());
    let is_variable = |node: &Node| match node {
        Node::Symbol(_) => true,
        Node::Words { text, .. } => text.len() == 1,
        _ => false,
    };
    let bracket = |strict: bool, brackets: (char, char)| if strict { brackets.0 } else { brackets.1 };
    let (low, left, right, high) = match (sides, relations) {
        ([x, high], [relation @ (Relation::Less | Relation::LessEqual)]) if is_variable(x) => {
            (Node::Sum(vec![(infinity(), true)]), true, *relation == Relation::Less, high.clone())
        }
        ([x, low], [relation @ (Relation::Greater | Relation::GreaterEqual)]) if is_variable(x) => {
            (low.clone(), *relation == Relation::Greater, true, infinity())
        }
        (
            [low, x, high],
            [left @ (Relation::Less | Relation::LessEqual), right @ (Relation::Less | Relation::LessEqual)],
        ) if is_variable(x) => (low.clone(), *left == Relation::Less, *right == Relation::Less, high.clone()),
        _ => return None,
    };
    Some(Node::Sequence {
        open: bracket(left, ('(', '[')),
        items: vec![low, high],
        close: bracket(right, (')', ']')),
    })
}

fn scalars_equal(gold: &Node, answer: &Node, budget: &mut Budget) -> Result<bool, Refusal> {
    // A bare name is an answer by itself (an option, a point); `a/1` is not how one writes it.
    if (gold.is_name() && !answer.is_symbols_or_e()) || (answer.is_name() && !gold.is_symbols_or_e()) {
        return Ok(false);
    }
    let exact = (normal(gold, budget)?, normal(answer, budget)?);
    if decimals_equal((gold, &exact.0), (answer, &exact.1))
        || percents_equal((gold, &exact.0), (answer, &exact.1))
    {
        return Ok(true);
    }
    values_equal((gold, &exact.0), (answer, &exact.1), budget)
}

fn values_equal(a: (&Node, &Exact), b: (&Node, &Exact), budget: &mut Budget) -> Result<bool, Refusal> {
    let difference = a.1.clone().add(&b.1.clone().negate(), budget)?;
    if difference.is_zero() {
        return Ok(!differ_in_floats(a, b));
    }
    let decided = a.1.is_decisive() && b.1.is_decisive();
    Ok(!decided && probe::agree(a.0, b.0))
}

/// A decimal literal stands for every number that rounds to it, unless that is a whole number: `1.0000001` is not 1.
fn decimals_equal(a: (&Node, &Exact), b: (&Node, &Exact)) -> bool {
    if !is_decimal(a.0) && !is_decimal(b.0) {
        return false;
    }
    let value = |(node, exact): (&Node, &Exact)| {
        exact.as_rational().or_else(|| probe::real(node).and_then(BigRational::from_float))
    };
    let (Some(a), Some(b)) = (value(a), value(b)) else {
        return false;
    };
    if a.is_integer() || b.is_integer() {
        return false;
    }
    let close = (&a - &b).abs() * BigRational::from_integer(RELATIVE.into()) <= a.abs().max(b.abs());
    let rounded = |value: &BigRational| {
        (value * BigRational::from_integer(BigInt::from(10).pow(DECIMAL_PLACES))).round().to_integer()
    };
    close && rounded(&a) == rounded(&b)
}

fn is_decimal(node: &Node) -> bool {
    match node {
        Node::Number { decimal, .. } => *decimal,
        Node::Percent(inner) => is_decimal(inner),
        Node::Sum(terms) => matches!(&terms[..], [(term, _)] if is_decimal(term)),
        _ => false,
    }
}

/// A number as it is written, perhaps with signs.
fn is_literal(node: &Node) -> bool {
    match node {
        Node::Number { .. } => true,
        Node::Percent(inner) => is_literal(inner),
        Node::Sum(terms) => matches!(&terms[..], [(term, true)] if is_literal(term)),
        _ => false,
    }
}

/// Whether floating point would tell two equal whole numbers apart, one of which is computed from decimals.
///
/// `8.7 * 10^5` is 869999.9999999999 to math-verify, which then refuses 870000. We may not pay for what it refuses.
fn differ_in_floats(a: (&Node, &Exact), b: (&Node, &Exact)) -> bool {
    let computed = |node: &Node| !is_literal(node) && has_decimal(node);
    let float = |node: &Node, exact: &Exact| {
        if computed(node) { probe::real(node) } else { exact.as_rational().and_then(|value| value.to_f64()) }
    };
    let whole = |exact: &Exact| exact.as_rational().is_some_and(|value| value.is_integer());
    computed(a.0) != computed(b.0)
        && whole(a.1)
        && !is_decimal(a.0)
        && !is_decimal(b.0)
        && float(a.0, a.1) != float(b.0, b.1)
}

fn has_decimal(node: &Node) -> bool {
    match node {
        Node::Number { decimal, .. } => *decimal,
        Node::Sum(parts) | Node::Product(parts) => parts.iter().any(|(part, _)| has_decimal(part)),
        Node::Power(base, exponent) => has_decimal(base) || has_decimal(exponent),
        _ => false,
    }
}

/// `60%` equals `60` where both are whole: a missing or extra sign is a matter of the question's unit.
fn percents_equal(a: (&Node, &Exact), b: (&Node, &Exact)) -> bool {
    let whole = |(node, exact): (&Node, &Exact)| {
        let value = exact.as_rational().filter(|_| is_literal(node) || node.is_whole())?;
        let (value, percent) = match node {
            Node::Percent(_) => (value * BigRational::from_integer(100.into()), true),
            _ => (value, false),
        };
        value.is_integer().then(|| (value.to_integer(), percent))
    };
    match (whole(a), whole(b)) {
        (Some((a, a_percent)), Some((b, b_percent))) => {
            a == b && (a_percent || b_percent) && a.to_i64().is_some()
        }
        _ => false,
    }
}
