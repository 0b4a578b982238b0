//! Exact arithmetic: quotients of sums of terms, each term a rational coefficient times powers of generators.
//!
//! Generators are primes with fractional exponents (roots), pi, e, variables, powers with variable exponents, and
//! expressions that we do not look into. Roots of distinct primes are linearly independent over the rationals
//! (Besicovitch 1940), so a sum of terms is zero only if it has no term left: equality is decided, not guessed,
//! unless an uninspected generator takes part ([`Exact::is_decisive`]).

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Write as _,
};

use num_bigint::BigInt;
use num_integer::Integer as _;
use num_rational::BigRational;
use num_traits::{One, Signed as _, ToPrimitive as _, Zero};

use super::{
    Refusal,
    budget::Budget,
    generator::{Atom, Monomial, size},
    rational::{check_size, factors, product, rational_power, sum},
};

/// Largest exponent of a sum of several terms.
const MAX_SUM_EXPONENT: i64 = 64;

/// Terms by monomial, no coefficient zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum(BTreeMap<Monomial, BigRational>);

/// `numerator / denominator`; the denominator is one wherever it was a single term.
#[derive(Clone, Debug)]
pub(super) struct Exact {
    numerator: Sum,
    denominator: Sum,
}

impl Exact {
    pub(super) fn rational(value: BigRational) -> Self {
        Self { numerator: Sum::term(value, Monomial::new()), denominator: Sum::one() }
    }

    pub(super) fn atom(atom: Atom) -> Self {
        let monomial = Monomial::from([(atom, BigRational::one())]);
        Self { numerator: Sum::term(BigRational::one(), monomial), denominator: Sum::one() }
    }

    /// A generator for a function of arguments that we do not look into.
    pub(super) fn opaque(name: &str, arguments: &[&Self], budget: &mut Budget) -> Result<Self, Refusal> {
        let mut key = name.to_owned();
        for argument in arguments {
            budget.spend(100 * (argument.numerator.0.len() + argument.denominator.0.len()))?;
            // Writing to a string cannot fail.
            let _ = write!(key, "({argument:?})");
            // Keys of nested functions hold the keys inside them, and could double at every level.
            budget.spend(key.len() / 4)?;
        }
        Ok(Self::atom(Atom::Opaque(key)))
    }

    /// The value, when it is a rational number.
    pub(super) fn as_rational(&self) -> Option<BigRational> {
        if self.denominator != Sum::one() {
            return None;
        }
        match self.numerator.0.len() {
            0 => Some(BigRational::zero()),
            1 => self.numerator.0.get(&Monomial::new()).cloned(),
            _ => None,
        }
    }

    /// The rational r of `r pi`.
    pub(super) fn as_multiple_of_pi(&self) -> Option<BigRational> {
        if self.is_zero() {
            return Some(BigRational::zero());
        }
        let (coefficient, monomial) = self.numerator.single().filter(|_| self.denominator == Sum::one())?;
        let is_pi = monomial.len() == 1 && monomial.get(&Atom::Pi).is_some_and(One::is_one);
        is_pi.then(|| coefficient.clone())
    }

    pub(super) fn is_zero(&self) -> bool {
        self.numerator.0.is_empty()
    }

    /// Whether inequality of normal forms proves inequality: no generator has relations that we do not know.
    pub(super) fn is_decisive(&self) -> bool {
        let known = |atom: &Atom| matches!(atom, Atom::Prime(_) | Atom::Pi | Atom::E | Atom::Symbol(_));
        [&self.numerator, &self.denominator]
            .iter()
            .all(|sum| sum.0.keys().all(|monomial| monomial.keys().all(known)))
    }

    /// Whether it is another expression in the same variables, two or more, times a number that is not zero, so that both
    /// are zero for the same values of the variables. Denominators are left out, as where they are zero there is no value.
    pub(super) fn has_zeros_of(&self, other: &Self, budget: &mut Budget) -> Result<bool, Refusal> {
        let variables = self.variables();
        if variables.len() < 2 || variables != other.variables() {
            return Ok(false);
        }
        let (a, b) = (self.numerator.without_fractions(budget)?, other.numerator.without_fractions(budget)?);
        let Some(leading) = a.0.keys().map(variables_of).find(|variables| !variables.is_empty()) else {
            return Ok(false);
        };
        let (a_leading, b_leading) = (a.coefficient_of(&leading), b.coefficient_of(&leading));
        if b_leading.0.is_empty() {
            return Ok(false);
        }
        Ok(a.times(&b_leading, budget)? == b.times(&a_leading, budget)?)
    }

    fn variables(&self) -> BTreeSet<&Atom> {
        let monomials = self.numerator.0.keys().chain(self.denominator.0.keys());
        monomials.flatten().map(|(atom, _)| atom).filter(|atom| !atom.is_number()).collect()
    }

    pub(super) fn add(self, other: &Self, budget: &mut Budget) -> Result<Self, Refusal> {
        if self.denominator == other.denominator {
            let numerator = self.numerator.plus(&other.numerator, budget)?;
            return Self::quotient(numerator, self.denominator, budget);
        }
        let left = self.numerator.times(&other.denominator, budget)?;
        let right = other.numerator.times(&self.denominator, budget)?;
        Self::quotient(
            left.plus(&right, budget)?,
            self.denominator.times(&other.denominator, budget)?,
            budget,
        )
    }

    pub(super) fn negate(mut self) -> Self {
        for coefficient in self.numerator.0.values_mut() {
            *coefficient = -coefficient.clone();
        }
        self
    }

    pub(super) fn multiply(&self, other: &Self, budget: &mut Budget) -> Result<Self, Refusal> {
        let numerator = self.numerator.times(&other.numerator, budget)?;
        let denominator = self.denominator.times(&other.denominator, budget)?;
        Self::quotient(numerator, denominator, budget)
    }

    pub(super) fn invert(self, budget: &mut Budget) -> Result<Self, Refusal> {
        Self::quotient(self.denominator, self.numerator, budget)
    }

    pub(super) fn power(&self, exponent: &Self, budget: &mut Budget) -> Result<Self, Refusal> {
        match exponent.as_rational() {
            Some(exponent) if exponent.is_integer() => self.integer_power(&exponent.to_integer(), budget),
            Some(exponent) => self.fractional_power(&exponent, budget),
            None => self.symbolic_power(exponent, budget),
        }
    }

    fn quotient(numerator: Sum, denominator: Sum, budget: &mut Budget) -> Result<Self, Refusal> {
        if denominator.0.is_empty() {
            return Err(Refusal::Undefined);
        }
        let Some((coefficient, monomial)) = denominator.single() else {
            return Ok(Self { numerator, denominator });
        };
        if monomial.is_empty() && coefficient.is_one() {
            return Ok(Self { numerator, denominator });
        }
        let inverse = monomial.iter().map(|(atom, exponent)| (atom.clone(), -exponent.clone())).collect();
        let inverse = Sum::normal(coefficient.recip(), inverse, budget)?;
        Ok(Self { numerator: numerator.times(&inverse, budget)?, denominator: Sum::one() })
    }

    fn integer_power(&self, exponent: &BigInt, budget: &mut Budget) -> Result<Self, Refusal> {
        let exponent = exponent.to_i64().ok_or(Refusal::TooHard)?;
        if exponent < 0 {
            return self.clone().invert(budget)?.integer_power(&BigInt::from(-i128::from(exponent)), budget);
        }
        let one = Self::rational(BigRational::one());
        if exponent == 0 {
            return if self.is_zero() { Err(Refusal::Undefined) } else { Ok(one) };
        }
        if let (Some((coefficient, monomial)), true) =
            (self.numerator.single(), self.denominator == Sum::one())
        {
            let exponents = BigRational::from_integer(exponent.into());
            let raised = monomial.iter().map(|(atom, e)| (atom.clone(), e * &exponents)).collect();
            let numerator = Sum::normal(rational_power(coefficient, exponent, budget)?, raised, budget)?;
            return Ok(Self { numerator, denominator: Sum::one() });
        }
        if exponent > MAX_SUM_EXPONENT {
            return Err(Refusal::TooHard);
        }
        (0..exponent).try_fold(one, |product, _| product.multiply(self, budget))
    }

    fn fractional_power(&self, exponent: &BigRational, budget: &mut Budget) -> Result<Self, Refusal> {
        if self.is_zero() {
            return if exponent.is_positive() { Ok(self.clone()) } else { Err(Refusal::Undefined) };
        }
        let Some((coefficient, monomial)) = self.single_base() else {
            let exponent = Self::rational(exponent.clone());
            return Self::opaque("power", &[self, &exponent], budget);
        };
        let mut raised: Monomial =
            monomial.iter().map(|(atom, power)| (atom.clone(), power * exponent)).collect();
        for (prime, count) in factors(coefficient, budget)? {
            *raised.entry(prime).or_default() += exponent * BigRational::from_integer(count.into());
        }
        let numerator = Sum::normal(BigRational::one(), raised, budget)?;
        Ok(Self { numerator, denominator: Sum::one() })
    }

    /// `b^(c1 m1 + c2 m2 + ..)` is the product of `Power(b, m)^c` over the terms.
    fn symbolic_power(&self, exponent: &Self, budget: &mut Budget) -> Result<Self, Refusal> {
        let splits = exponent.denominator == Sum::one();
        let base = self.single_base().filter(|(coefficient, _)| splits && coefficient.is_positive());
        let Some((coefficient, monomial)) = base else {
            return Self::opaque("power", &[self, exponent], budget);
        };
        let mut bases = monomial.clone();
        for (prime, count) in factors(coefficient, budget)? {
            *bases.entry(prime).or_default() += BigRational::from_integer(count.into());
        }
        let mut raised = Monomial::new();
        for (base, outer) in &bases {
            for (term, inner) in &exponent.numerator.0 {
                // Of a tower of powers each level holds the one above it once for every prime of its base.
                budget.spend(10 + base.size() + size(term))?;
                let atom = if term.is_empty() {
                    base.clone()
                } else {
                    Atom::Power(Box::new(base.clone()), term.clone())
                };
                *raised.entry(atom).or_default() += outer * inner;
            }
        }
        let numerator = Sum::normal(BigRational::one(), raised, budget)?;
        Ok(Self { numerator, denominator: Sum::one() })
    }

    /// The base as one term for which `(a b)^q = a^q b^q` holds on the principal branch: positive numbers, and at
    /// most one bare variable with a positive coefficient.
    fn single_base(&self) -> Option<(&BigRational, &Monomial)> {
        let (coefficient, monomial) = self.numerator.single()?;
        if self.denominator != Sum::one() {
            return None;
        }
        let mut others = monomial.iter().filter(|(atom, _)| !atom.is_positive());
        let splits = match (others.next(), others.next()) {
            (None, _) => true,
            (Some((Atom::Symbol(_), exponent)), None) => exponent.is_one() && coefficient.is_positive(),
            _ => false,
        };
        splits.then_some((coefficient, monomial))
    }
}

impl Sum {
    fn one() -> Self {
        Self::term(BigRational::one(), Monomial::new())
    }

    fn term(coefficient: BigRational, monomial: Monomial) -> Self {
        let mut sum = Self::default();
        if !coefficient.is_zero() {
            sum.0.insert(monomial, coefficient);
        }
        sum
    }

    fn normal(coefficient: BigRational, monomial: Monomial, budget: &mut Budget) -> Result<Self, Refusal> {
        let (coefficient, monomial) = normal_term(coefficient, monomial, budget)?;
        Ok(Self::term(coefficient, monomial))
    }

    fn single(&self) -> Option<(&BigRational, &Monomial)> {
        let (monomial, coefficient) = self.0.first_key_value()?;
        (self.0.len() == 1).then_some((coefficient, monomial))
    }

    /// Times the variables that it is divided by: `y - 6 / x` becomes `x y - 6`.
    fn without_fractions(&self, budget: &mut Budget) -> Result<Self, Refusal> {
        let mut divisors = Monomial::new();
        for (atom, exponent) in
            self.0.keys().flatten().filter(|(atom, e)| !atom.is_number() && e.is_negative())
        {
            budget.spend(1)?;
            let most = divisors.entry(atom.clone()).or_default();
            *most = (&*most).max(&-exponent).clone();
        }
        self.times(&Self::term(BigRational::one(), divisors), budget)
    }

    /// What stands before a product of variables.
    fn coefficient_of(&self, variables: &Monomial) -> Self {
        let of_these = self.0.iter().filter(|(monomial, _)| variables_of(monomial) == *variables);
        let number = |monomial: &Monomial| -> Monomial {
            monomial
                .iter()
                .filter(|(atom, _)| atom.is_number())
                .map(|(a, e)| (a.clone(), e.clone()))
                .collect()
        };
        Self(of_these.map(|(monomial, coefficient)| (number(monomial), coefficient.clone())).collect())
    }

    fn plus(mut self, other: &Self, budget: &mut Budget) -> Result<Self, Refusal> {
        for (monomial, coefficient) in &other.0 {
            budget.spend(2 + size(monomial))?;
            self.add_term(monomial.clone(), coefficient.clone(), budget)?;
        }
        Ok(self)
    }

    fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, Refusal> {
        if *self == Self::one() {
            return Ok(other.clone());
        }
        if *other == Self::one() {
            return Ok(self.clone());
        }
        let mut all = Self::default();
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                budget.spend(2 + size(left) + size(right))?;
                let mut monomial = left.clone();
                for (atom, exponent) in right {
                    match monomial.get_mut(atom) {
                        Some(both) => *both = sum(both, exponent),
                        None => drop(monomial.insert(atom.clone(), exponent.clone())),
                    }
                }
                let (coefficient, monomial) = normal_term(product(a, b), monomial, budget)?;
                all.add_term(monomial, coefficient, budget)?;
            }
        }
        Ok(all)
    }

    fn add_term(
        &mut self,
        monomial: Monomial,
        coefficient: BigRational,
        budget: &mut Budget,
    ) -> Result<(), Refusal> {
        match self.0.entry(monomial) {
            Entry::Vacant(place) if !coefficient.is_zero() => drop(place.insert(coefficient)),
            Entry::Vacant(_) => {}
            Entry::Occupied(mut place) => {
                let both = sum(place.get(), &coefficient);
                check_size(&both, budget)?;
                if both.is_zero() {
                    place.remove();
                } else {
                    *place.get_mut() = both;
                }
            }
        }
        Ok(())
    }
}

/// A monomial without its numbers.
fn variables_of(monomial: &Monomial) -> Monomial {
    monomial.iter().filter(|(atom, _)| !atom.is_number()).map(|(a, e)| (a.clone(), e.clone())).collect()
}

/// One term, with whole powers of primes and signs moved into its coefficient.
fn normal_term(
    mut coefficient: BigRational,
    mut monomial: Monomial,
    budget: &mut Budget,
) -> Result<(BigRational, Monomial), Refusal> {
    budget.spend(1 + size(&monomial))?;
    let mut result = Ok(());
    monomial.retain(|atom, exponent| {
        if let Err(refusal) = move_whole_power(atom, exponent, &mut coefficient, budget) {
            result = Err(refusal);
        }
        !exponent.is_zero()
    });
    result?;
    check_size(&coefficient, budget)?;
    Ok((coefficient, monomial))
}

fn move_whole_power(
    atom: &Atom,
    exponent: &mut BigRational,
    coefficient: &mut BigRational,
    budget: &mut Budget,
) -> Result<(), Refusal> {
    match atom {
        Atom::Prime(prime) => {
            let whole = exponent.floor();
            let power = whole.to_integer().to_i64().ok_or(Refusal::TooHard)?;
            let prime = BigRational::from_integer(BigInt::from(prime.clone()));
            *coefficient *= rational_power(&prime, power, budget)?;
            *exponent -= whole;
        }
        Atom::MinusOne => {
            let whole = exponent.floor();
            if whole.to_integer().is_odd() {
                *coefficient = -coefficient.clone();
            }
            *exponent -= whole;
        }
        Atom::Pi | Atom::E | Atom::Symbol(_) | Atom::Power(..) | Atom::Opaque(_) => {}
    }
    Ok(())
}
