//! From a [`Node`] to its exact normal form.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One as _, Signed as _, ToPrimitive as _, Zero as _};

use super::{
    Refusal,
    budget::Budget,
    exact::Exact,
    generator::Atom,
    node::{Function, Node},
};

/// Largest n of `n!` and of the binomial of n.
const MAX_FACTORIAL: u32 = 500;

/// The normal form of a number or an expression; refused for sets, relations and the like.
pub(super) fn normal(node: &Node, budget: &mut Budget) -> Result<Exact, Refusal> {
    budget.spend(1)?;
    match node {
        Node::Number { value, .. } => Ok(Exact::rational(value.clone())),
        Node::Symbol(name) => Ok(Exact::atom(Atom::Symbol(name.clone()))),
        Node::Pi => Ok(Exact::atom(Atom::Pi)),
        Node::E => Ok(Exact::atom(Atom::E)),
        Node::Sum(terms) => {
            let zero = Exact::rational(BigRational::zero());
            terms.iter().try_fold(zero, |sum, (term, negative)| {
                let term = normal(term, budget)?;
                sum.add(&if *negative { term.negate() } else { term }, budget)
            })
        }
        Node::Product(factors) => {
            let one = Exact::rational(BigRational::one());
            factors.iter().try_fold(one, |product, (factor, inverse)| {
                let factor = normal(factor, budget)?;
                product.multiply(&if *inverse { factor.invert(budget)? } else { factor }, budget)
            })
        }
        Node::Power(base, exponent) => {
            let (base, exponent) = (normal(base, budget)?, normal(exponent, budget)?);
            base.power(&exponent, budget)
        }
        Node::Percent(value) => {
            let hundredth = Exact::rational(BigRational::new(1.into(), 100.into()));
            normal(value, budget)?.multiply(&hundredth, budget)
        }
        Node::Call(function, arguments) => call(*function, arguments, budget),
        Node::Words { product, .. } => normal(product, budget),
        Node::PlusMinus { .. }
        | Node::Set(_)
        | Node::Sequence { .. }
        | Node::Union(_)
        | Node::Matrix(_)
        | Node::Relation { .. } => Err(Refusal::Undefined),
    }
}

fn call(function: Function, arguments: &[Node], budget: &mut Budget) -> Result<Exact, Refusal> {
    let arguments =
        arguments.iter().map(|argument| normal(argument, budget)).collect::<Result<Vec<_>, _>>()?;
    if let Some(value) = angle(function, &arguments, budget)? {
        return Ok(value);
    }
    let rationals: Option<Vec<BigRational>> = arguments.iter().map(Exact::as_rational).collect();
    let known = match (function, rationals.as_deref()) {
        (Function::Abs, Some([x])) => Some(x.abs()),
        (Function::Floor, Some([x])) => Some(x.floor()),
        (Function::Ceil, Some([x])) => Some(x.ceil()),
        (Function::Factorial, Some([n])) => falling(n, n, budget)?,
        (Function::Binomial, Some([n, k])) => match (falling(n, k, budget)?, falling(k, k, budget)?) {
            (Some(above), Some(below)) => Some(above / below),
            _ => None,
        },
        _ => None,
    };
    match known {
        Some(value) => Ok(Exact::rational(value)),
        None => Exact::opaque(&format!("{function:?}"), &arguments.iter().collect::<Vec<_>>(), budget),
    }
}

/// The trigonometric function of a multiple of 30 or 45 degrees; none for other angles and functions.
fn angle(function: Function, arguments: &[Exact], budget: &mut Budget) -> Result<Option<Exact>, Refusal> {
    let [argument] = arguments else { return Ok(None) };
    let Some(half_turns) = argument.as_multiple_of_pi() else { return Ok(None) };
    let twelfths = half_turns * BigRational::from_integer(12.into());
    if !twelfths.is_integer() {
        return Ok(None);
    }
    let Some(twelfths) = (twelfths.to_integer() % BigInt::from(24)).to_i64() else { return Ok(None) };
    let (Some(sine), Some(cosine)) = (sine(twelfths, budget)?, sine(twelfths + 6, budget)?) else {
        return Ok(None);
    };
    Ok(match function {
        Function::Sin => Some(sine),
        Function::Cos => Some(cosine),
        Function::Tan => Some(sine.multiply(&cosine.invert(budget)?, budget)?),
        Function::Cot => Some(cosine.multiply(&sine.invert(budget)?, budget)?),
        Function::Sec => Some(cosine.invert(budget)?),
        Function::Csc => Some(sine.invert(budget)?),
        _ => None,
    })
}

/// The sine of so many times 15 degrees, where it is half a root.
fn sine(twelfths: i64, budget: &mut Budget) -> Result<Option<Exact>, Refusal> {
    let turn = twelfths.rem_euclid(24);
    let (steps, negative) = if turn < 12 { (turn, false) } else { (turn - 12, true) };
    // sin x = sqrt(n) / 2.
    let n = match steps.min(12 - steps) {
        0 => 0,
        2 => 1,
        3 => 2,
        4 => 3,
        6 => 4,
        _ => return Ok(None),
    };
    let half = BigRational::new(1.into(), 2.into());
    let root =
        Exact::rational(BigRational::from_integer(n.into())).power(&Exact::rational(half.clone()), budget)?;
    let sine = root.multiply(&Exact::rational(half), budget)?;
    Ok(Some(if negative { sine.negate() } else { sine }))
}

/// `n (n - 1) .. (n - k + 1)` for small natural numbers; none for others.
fn falling(n: &BigRational, k: &BigRational, budget: &mut Budget) -> Result<Option<BigRational>, Refusal> {
    if !n.is_integer() || !k.is_integer() || n.is_negative() || k.is_negative() {
        return Ok(None);
    }
    let small = |value: &BigRational| value.to_integer().to_u32().filter(|&value| value <= MAX_FACTORIAL);
    let (Some(n), Some(k)) = (small(n), small(k)) else {
        return Err(Refusal::TooHard);
    };
    budget.spend(10 * k as usize)?;
    let product = (0..k).fold(BigInt::one(), |product, i| product * (i64::from(n) - i64::from(i)));
    Ok(Some(BigRational::from_integer(product)))
}
