//! The generators of exact arithmetic, and products of their powers.

use std::collections::BTreeMap;

use num_bigint::BigUint;
use num_rational::BigRational;

/// A generator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// A prime, with an exponent between 0 and 1.
    Prime(BigUint),
    /// Minus one, with an exponent between 0 and 1.
    MinusOne,
    Pi,
    E,
    Symbol(String),
    /// A base whose exponent is a product of variables: `2^x` is `Power(2, x)` to the power 1.
    Power(Box<Atom>, Monomial),
    /// An expression known only by its normal form as text.
    Opaque(String),
}

impl Atom {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Prime(_) | Self::MinusOne | Self::Pi | Self::E)
    }

    /// Atoms that a copy holds: a power holds its base and its exponent, which may be powers again.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Power(base, exponent) => 1 + base.size() + size(exponent),
            Self::Opaque(text) => 1 + text.len() / 64,
            Self::Prime(_) | Self::MinusOne | Self::Pi | Self::E | Self::Symbol(_) => 1,
        }
    }

    /// Whether it is a positive real number, for which `(a b)^q = a^q b^q`.
    pub(super) fn is_positive(&self) -> bool {
        matches!(self, Self::Prime(_) | Self::Pi | Self::E)
    }
}

/// Generators with their exponents, none of them zero.
pub(super) type Monomial = BTreeMap<Atom, BigRational>;

/// Atoms that a copy of a monomial holds.
pub(super) fn size(monomial: &Monomial) -> usize {
    monomial.keys().map(Atom::size).sum()
}
