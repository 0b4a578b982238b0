//! Numeric values with a tracked rounding error, for what the exact normal form does not decide.
//!
//! Variables get fixed complex values, so identities that hold only for positive numbers (`\sqrt{x^2} = x`) fail, as
//! they must. Two expressions are equal when they agree within their rounding errors at every probe, and the errors
//! are small enough for that to mean something.

use num_traits::ToPrimitive as _;
use reft_core::Seed;

use super::node::{Function, Node};

/// Points at which expressions with variables are compared.
const PROBES: u64 = 4;
/// Relative error of one floating-point operation, with room for the functions of the standard library.
const EPSILON: f64 = 4.0 * f64::EPSILON;
/// Largest error, absolute and relative, with which a comparison still means something.
const MAX_ERROR: f64 = 1e-9;

/// Whether two expressions agree at every probe.
pub(super) fn agree(a: &Node, b: &Node) -> bool {
    (0..PROBES).all(|probe| match (value(a, probe), value(b, probe)) {
        (Some(a), Some(b)) => {
            let error = a.error + b.error;
            let size = a.abs().max(b.abs());
            (a.re - b.re).hypot(a.im - b.im) <= 4.0 * error
                && error <= MAX_ERROR
                && error <= MAX_ERROR * size.max(EPSILON)
                || (a.re == b.re && a.im == b.im)
        }
        _ => false,
    })
}

/// The value of an expression without variables, when it is real.
pub(super) fn real(node: &Node) -> Option<f64> {
    let (first, second) = (value(node, 0)?, value(node, 1)?);
    let constant = first.re == second.re && first.im == second.im;
    (constant && first.im.abs() <= first.error && first.error <= MAX_ERROR * first.re.abs().max(1.0))
        .then_some(first.re)
}

/// A complex number and a bound of its error.
#[derive(Clone, Copy, Debug)]
struct Approx {
    re: f64,
    im: f64,
    error: f64,
}

impl Approx {
    fn exact(re: f64) -> Self {
        Self { re, im: 0.0, error: 0.0 }
    }

    fn rounded(re: f64, im: f64, error: f64) -> Self {
        Self { re, im, error: error + EPSILON * re.hypot(im) }
    }

    fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    fn add(self, other: Self) -> Self {
        Self::rounded(self.re + other.re, self.im + other.im, self.error + other.error)
    }

    fn negate(self) -> Self {
        Self { re: -self.re, im: -self.im, error: self.error }
    }

    fn multiply(self, other: Self) -> Self {
        let error = self.abs() * other.error + other.abs() * self.error + self.error * other.error;
        Self::rounded(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re, error)
    }

    fn invert(self) -> Option<Self> {
        let square = self.re * self.re + self.im * self.im;
        (self.abs() > self.error)
            .then(|| Self::rounded(self.re / square, -self.im / square, self.error / square))
    }

    fn exp(self) -> Self {
        let size = self.re.exp();
        Self::rounded(size * self.im.cos(), size * self.im.sin(), size * (self.error + EPSILON * self.abs()))
    }

    fn ln(self) -> Option<Self> {
        let size = self.abs();
        // On the cut the sign of a rounding error would decide the branch.
        let on_cut = self.re < 0.0 && self.im != 0.0 && self.im.abs() <= self.error;
        (size > self.error && !on_cut)
            .then(|| Self::rounded(size.ln(), self.im.atan2(self.re), self.error / size + EPSILON))
    }

    fn power(self, exponent: Self) -> Option<Self> {
        let whole = exponent.re;
        if exponent.im == 0.0 && exponent.error == 0.0 && whole.fract() == 0.0 && whole.abs() <= 1024.0 {
            let base = if whole < 0.0 { self.invert()? } else { self };
            return Some((0..whole.abs() as u32).fold(Self::exact(1.0), |product, _| product.multiply(base)));
        }
        if self.re == 0.0 && self.im == 0.0 {
            return (exponent.re > exponent.error).then_some(Self::exact(0.0));
        }
        Some(self.ln()?.multiply(exponent).exp())
    }

    fn sin(self) -> Self {
        let (re, im) = (self.re.sin() * self.im.cosh(), self.re.cos() * self.im.sinh());
        Self::rounded(re, im, (self.error + EPSILON * self.abs()) * self.im.cosh())
    }

    fn cos(self) -> Self {
        let (re, im) = (self.re.cos() * self.im.cosh(), -self.re.sin() * self.im.sinh());
        Self::rounded(re, im, (self.error + EPSILON * self.abs()) * self.im.cosh())
    }

    fn divide(self, other: Self) -> Option<Self> {
        Some(self.multiply(other.invert()?))
    }

    /// A function of a real number whose slope is at most `slope` there.
    fn real_function(self, function: impl Fn(f64) -> f64, slope: f64) -> Option<Self> {
        (self.im == 0.0 && slope.is_finite())
            .then(|| Self::rounded(function(self.re), 0.0, slope * self.error))
    }
}

fn value(node: &Node, probe: u64) -> Option<Approx> {
    let result = match node {
        Node::Number { value, .. } => {
            let re = value.to_f64()?;
            Approx {
                re,
                im: 0.0,
                error: if re.fract() == 0.0 && re.abs() < 1e15 { 0.0 } else { EPSILON * re.abs() },
            }
        }
        Node::Symbol(name) if name == "∞" => return None,
        Node::Symbol(name) => {
            let seed = Seed::new(probe).at(name.as_str());
            let part = |label: &str| 3.0 * seed.at(label).uniform() - 1.5;
            Approx { re: part("re"), im: part("im"), error: 0.0 }
        }
        Node::Pi => Approx::rounded(std::f64::consts::PI, 0.0, 0.0),
        Node::E => Approx::rounded(std::f64::consts::E, 0.0, 0.0),
        Node::Sum(terms) => terms.iter().try_fold(Approx::exact(0.0), |sum, (term, negative)| {
            let term = value(term, probe)?;
            Some(sum.add(if *negative { term.negate() } else { term }))
        })?,
        Node::Product(factors) => {
            factors.iter().try_fold(Approx::exact(1.0), |product, (factor, inverse)| {
                let factor = value(factor, probe)?;
                Some(product.multiply(if *inverse { factor.invert()? } else { factor }))
            })?
        }
        Node::Power(base, exponent) => value(base, probe)?.power(value(exponent, probe)?)?,
        Node::Percent(inner) => value(inner, probe)?.multiply(Approx::rounded(0.01, 0.0, 0.0)),
        Node::Call(function, arguments) => call(*function, arguments, probe)?,
        Node::Words { product, .. } => value(product, probe)?,
        Node::PlusMinus { .. }
        | Node::Set(_)
        | Node::Sequence { .. }
        | Node::Union(_)
        | Node::Matrix(_)
        | Node::Relation { .. } => return None,
    };
    (result.re.is_finite() && result.im.is_finite() && result.error.is_finite()).then_some(result)
}

fn call(function: Function, arguments: &[Node], probe: u64) -> Option<Approx> {
    let x = value(arguments.first()?, probe)?;
    let one = Approx::exact(1.0);
    match function {
        Function::Sin => Some(x.sin()),
        Function::Cos => Some(x.cos()),
        Function::Tan => x.sin().divide(x.cos()),
        Function::Cot => x.cos().divide(x.sin()),
        Function::Sec => one.divide(x.cos()),
        Function::Csc => one.divide(x.sin()),
        Function::Arcsin => x.real_function(f64::asin, 1.0 / (1.0 - x.re * x.re).sqrt()),
        Function::Arccos => x.real_function(f64::acos, 1.0 / (1.0 - x.re * x.re).sqrt()),
        Function::Arctan => x.real_function(f64::atan, 1.0),
        Function::Sinh => Some(x.exp().add(x.negate().exp().negate()).multiply(Approx::exact(0.5))),
        Function::Cosh => Some(x.exp().add(x.negate().exp()).multiply(Approx::exact(0.5))),
        Function::Tanh => {
            let (up, down) = (x.exp(), x.negate().exp());
            up.add(down.negate()).divide(up.add(down))
        }
        Function::Log => x.ln()?.divide(value(arguments.get(1)?, probe)?.ln()?),
        Function::Abs => Some(Approx::rounded(x.abs(), 0.0, x.error)),
        // A rounding error beside a jump could change the value by one.
        Function::Floor => {
            (x.im == 0.0 && (x.re - x.re.round()).abs() > x.error).then(|| Approx::exact(x.re.floor()))
        }
        Function::Ceil => {
            (x.im == 0.0 && (x.re - x.re.round()).abs() > x.error).then(|| Approx::exact(x.re.ceil()))
        }
        // Exact for whole numbers, unknown for others.
        Function::Factorial | Function::Binomial => None,
    }
}
