//! From a [`Node`] to its exact normal form.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One as _, Signed as _, ToPrimitive as _, Zero as _};

use super::{
    Refusal,
    exact::{Atom, Budget, Exact},
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
        Node::Set(_) | Node::Sequence { .. } | Node::Union(_) | Node::Matrix(_) | Node::Relation { .. } => {
            Err(Refusal::Undefined)
        }
    }
}

fn call(function: Function, arguments: &[Node], budget: &mut Budget) -> Result<Exact, Refusal> {
    let arguments =
        arguments.iter().map(|argument| normal(argument, budget)).collect::<Result<Vec<_>, _>>()?;
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
