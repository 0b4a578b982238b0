//! Powers and prime factors of rational numbers, bounded in size.

use num_bigint::BigUint;
use num_rational::BigRational;
use num_traits::{One as _, Signed as _, Zero as _};

use super::{Refusal, budget::Budget, generator::Atom};

/// Largest coefficient, in bits.
const MAX_BITS: u64 = 16_384;
/// Trial division stops here; what is left of a number counts as one prime.
const MAX_TRIAL: u32 = 2_000;

/// `a + b`, without the common divisors that whole numbers do not have: most numbers here are whole.
pub(super) fn sum(a: &BigRational, b: &BigRational) -> BigRational {
    if a.is_integer() && b.is_integer() { BigRational::from_integer(a.numer() + b.numer()) } else { a + b }
}

/// `a * b`, likewise.
pub(super) fn product(a: &BigRational, b: &BigRational) -> BigRational {
    if a.is_integer() && b.is_integer() { BigRational::from_integer(a.numer() * b.numer()) } else { a * b }
}

/// Refuses numbers too large to go on with.
pub(super) fn check_size(value: &BigRational, budget: &mut Budget) -> Result<(), Refusal> {
    let bits = value.numer().bits() + value.denom().bits();
    budget.spend(bits as usize / 256)?;
    if bits > MAX_BITS { Err(Refusal::TooHard) } else { Ok(()) }
}

/// A whole power, refused before it becomes too large.
pub(super) fn rational_power(
    base: &BigRational,
    exponent: i64,
    budget: &mut Budget,
) -> Result<BigRational, Refusal> {
    if base.is_one() || exponent == 0 {
        return Ok(BigRational::one());
    }
    let bits = base.numer().bits().max(base.denom().bits());
    if bits.saturating_mul(exponent.unsigned_abs()) > MAX_BITS {
        // Powers of one and minus one are small whatever the exponent.
        return if base.abs().is_one() {
            Ok(if exponent % 2 == 0 { BigRational::one() } else { base.clone() })
        } else {
            Err(Refusal::TooHard)
        };
    }
    budget.spend(bits as usize * exponent.unsigned_abs() as usize / 64)?;
    if base.is_zero() && exponent < 0 {
        return Err(Refusal::Undefined);
    }
    let exponent = exponent as i32;
    Ok(base.pow(exponent))
}

/// The prime factors of a rational number with their exponents, minus one among them where it is negative.
pub(super) fn factors(value: &BigRational, budget: &mut Budget) -> Result<Vec<(Atom, i64)>, Refusal> {
    let mut found = Vec::new();
    if value.is_negative() {
        found.push((Atom::MinusOne, 1));
    }
    for (part, sign) in [(value.numer(), 1), (value.denom(), -1)] {
        let mut rest = part.magnitude().clone();
        for prime in 2..MAX_TRIAL {
            if BigUint::from(prime) * prime > rest {
                break;
            }
            budget.spend(1 + rest.bits() as usize / 512)?;
            let mut count = 0;
            while (&rest % prime).is_zero() {
                rest /= prime;
                count += sign;
            }
            if count != 0 {
                found.push((Atom::Prime(prime.into()), count));
            }
        }
        if !rest.is_one() {
            // What is left may be composite. Taking it for a prime can only miss an equality, never invent one; the
            // square of a large prime is the one case worth looking for.
            let root = rest.sqrt();
            if &root * &root == rest {
                found.push((Atom::Prime(root), 2 * sign));
            } else {
                found.push((Atom::Prime(rest), sign));
            }
        }
    }
    Ok(found)
}
