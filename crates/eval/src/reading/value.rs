//! The value of a written expression, as latex2sympy 1.9.1 and Python's `eval` find it.
//!
//! Narrower than [`reft_math::value`], because a grader that cannot read an answer takes it for wrong: no unit, no
//! Unicode sign, no mixed number (`2\frac{1}{3}` is two thirds), braces around the arguments of fractions and roots. Powers
//! associate to the left, `:` divides, and numbers side by side are multiplied.

use std::f64::consts::{E, PI};

/// Deepest nesting that is read.
const DEPTH: usize = 64;

/// Names that expressions may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Functions and constants of mathematics, as the authors' program has them.
    Known,
    /// None of them: in lmms-eval 0.7.3 and VLMEvalKit a square root or pi has no value.
    Lost,
}

/// A value, and whether Python has it as a whole number: literals without a fraction, their sums, products and powers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) x: f64,
    pub(crate) is_whole: bool,
}

impl Value {
    fn whole(x: f64) -> Self {
        Self { x, is_whole: true }
    }

    fn real(x: f64) -> Self {
        Self { x, is_whole: false }
    }

    fn join(self, other: Self, x: f64) -> Self {
        Self { x, is_whole: self.is_whole && other.is_whole }
    }
}

/// The value of a text; none where it has none that is finite and real.
pub(crate) fn value(text: &str, names: Names) -> Option<Value> {
    let text = text
        .replace("\\left", "")
        .replace("\\right", "")
        .replace("\\dfrac", "\\frac")
        .replace("\\tfrac", "\\frac");
    // A full stop at the end is skipped.
    let text = text.trim().trim_end_matches('.');
    let mut reader = Reader { rest: text, names, depth: 0 };
    let value = reader.sum()?;
    reader.space();
    (reader.rest.is_empty() && value.x.is_finite()).then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    names: Names,
    depth: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        loop {
            let start = self.rest;
            self.rest = self.rest.trim_start();
            for gap in ["$", "\\,", "\\!", "\\;", "\\:", "\\ "] {
                self.rest = self.rest.strip_prefix(gap).unwrap_or(self.rest);
            }
            if self.rest.len() == start.len() {
                return;
            }
        }
    }

    /// Takes a token that comes next; a command must not go on with letters.
    fn take(&mut self, token: &str) -> bool {
        self.space();
        let Some(after) = self.rest.strip_prefix(token) else { return false };
        let is_command = token.starts_with('\\') && token.ends_with(|c: char| c.is_ascii_alphabetic());
        if is_command && after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return false;
        }
        self.rest = after;
        true
    }

    fn known(&self) -> Option<()> {
        (self.names == Names::Known).then_some(())
    }

    fn sum(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let mut all = self.product()?;
        loop {
            if self.take("+") {
                let next = self.product()?;
                all = all.join(next, all.x + next.x);
            } else if self.take("-") {
                let next = self.product()?;
                all = all.join(next, all.x - next.x);
            } else {
                self.depth -= 1;
                return Some(all);
            }
        }
    }

    fn product(&mut self) -> Option<Value> {
        let mut all = self.signed()?;
        loop {
            if self.rest.starts_with("**") {
                return None;
            }
            if self.take("*") || self.take("\\times") || self.take("\\cdot") {
                let next = self.signed()?;
                all = all.join(next, all.x * next.x);
            } else if self.take("/") || self.take("\\div") || self.take(":") {
                let next = self.signed()?;
                if next.x == 0.0 {
                    return None;
                }
                all = Value::real(all.x / next.x);
            } else if self.factor_follows() {
                let next = self.power()?;
                all = all.join(next, all.x * next.x);
            } else {
                return Some(all);
            }
        }
    }

    fn signed(&mut self) -> Option<Value> {
        let mut sign = 1.0;
        loop {
            if self.take("-") {
                sign = -sign;
            } else if !self.take("+") {
                let value = self.power()?;
                return Some(Value { x: sign * value.x, ..value });
            }
        }
    }

    /// Whether something that can be multiplied comes next.
    fn factor_follows(&mut self) -> bool {
        self.space();
        let starts = |c: char| c.is_ascii_digit() || c == '.' || c == '(' || c == '{' || c == '[' || c == 'e';
        let commands = ["\\frac", "\\sqrt", "\\pi", "\\{", "\\binom", "\\lfloor", "\\lceil", "\\gcd"];
        self.rest.starts_with(starts)
            || commands.iter().any(|command| self.rest.starts_with(command))
            || FUNCTIONS.iter().any(|(name, _)| self.rest.starts_with(name))
    }

    fn power(&mut self) -> Option<Value> {
        self.space();
        if let Some(after) = self.rest.strip_prefix("e^") {
            self.known()?;
            self.rest = after;
            let exponent = self.exponent()?;
            return Some(Value::real(exponent.x.exp()));
        }
        let mut base = self.postfix()?;
        while self.take("^") {
            let exponent = self.exponent()?;
            let is_whole = base.is_whole && exponent.is_whole && exponent.x >= 0.0;
            base = Value { x: base.x.powf(exponent.x), is_whole };
        }
        base.x.is_finite().then_some(base)
    }

    fn exponent(&mut self) -> Option<Value> {
        if self.take("{") {
            let exponent = self.sum()?;
            return self.take("}").then_some(exponent);
        }
        self.signed_atom()
    }

    fn signed_atom(&mut self) -> Option<Value> {
        let sign = if self.take("-") { -1.0 } else { 1.0 };
        let value = self.postfix()?;
        Some(Value { x: sign * value.x, ..value })
    }

    /// An atom with `!` and `\%` behind it.
    fn postfix(&mut self) -> Option<Value> {
        let mut value = self.atom()?;
        loop {
            if self.take("!") {
                self.known()?;
                let n =
                    (value.x.fract() == 0.0 && (0.0..=170.0).contains(&value.x)).then_some(value.x as u32)?;
                value = Value::whole((1..=n).map(f64::from).product());
            } else if self.take("\\%") {
                value = Value::real(value.x / 100.0);
            } else {
                return Some(value);
            }
        }
    }

    fn atom(&mut self) -> Option<Value> {
        for (open, close) in [("(", ")"), ("{", "}"), ("[", "]"), ("\\{", "\\}")] {
            if self.take(open) {
                let inside = self.sum()?;
                return self.take(close).then_some(inside);
            }
        }
        if self.take("\\frac") {
            let (above, below) = (self.braced()?, self.braced()?);
            return (below.x != 0.0).then(|| Value::real(above.x / below.x));
        }
        if self.take("\\sqrt") {
            return self.root();
        }
        if self.take("\\pi") {
            self.known()?;
            return Some(Value::real(PI));
        }
        if self.take("\\binom") {
            let (n, k) = (self.braced()?, self.braced()?);
            return binomial(n.x, k.x).map(Value::whole);
        }
        for (open, close, round) in
            [("\\lfloor", "\\rfloor", f64::floor as fn(f64) -> f64), ("\\lceil", "\\rceil", f64::ceil)]
        {
            if self.take(open) {
                self.known()?;
                let inside = self.sum()?;
                return self.take(close).then(|| Value::whole(round(inside.x)));
            }
        }
        for (name, function) in FUNCTIONS {
            if self.take(name) {
                self.known()?;
                return self.call(function);
            }
        }
        self.number()
    }

    fn braced(&mut self) -> Option<Value> {
        if !self.take("{") {
            return None;
        }
        let inside = self.sum()?;
        self.take("}").then_some(inside)
    }

    fn root(&mut self) -> Option<Value> {
        if self.take("[") {
            let degree = self.sum()?;
            if !self.take("]") {
                return None;
            }
            let inside = self.braced()?;
            return Some(Value::real(inside.x.powf(1.0 / degree.x)));
        }
        self.known()?;
        let inside = self.braced()?;
        Some(Value::real(inside.x.sqrt()))
    }

    fn call(&mut self, function: Function) -> Option<Value> {
        let base = if function == Function::Log && self.take("_") { self.exponent()?.x } else { 10.0 };
        let is_inverse = self.take("^{-1}");
        let argument = self.atom()?.x;
        Some(Value::real(function.of(argument, base, is_inverse)?))
    }

    /// Digits, thousands in groups behind commas, and a fraction.
    fn number(&mut self) -> Option<Value> {
        self.space();
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = digits(0);
        while bytes.get(end) == Some(&b',') && digits(end + 1) >= 3 && end > 0 {
            end += 4;
        }
        let fraction = if bytes.get(end) == Some(&b'.') { digits(end + 1) } else { 0 };
        if fraction > 0 {
            end += 1 + fraction;
        }
        if end == 0 {
            return None;
        }
        let x: f64 = self.rest[..end].replace(',', "").parse().ok()?;
        self.rest = &self.rest[end..];
        Some(Value { x, is_whole: x.fract() == 0.0 })
    }
}

/// Functions by their commands, longer names first.
const FUNCTIONS: [(&str, Function); 14] = [
    ("\\arcsin", Function::Arcsin),
    ("\\arccos", Function::Arccos),
    ("\\arctan", Function::Arctan),
    ("\\sinh", Function::Sinh),
    ("\\cosh", Function::Cosh),
    ("\\tanh", Function::Tanh),
    ("\\sin", Function::Sin),
    ("\\cos", Function::Cos),
    ("\\tan", Function::Tan),
    ("\\cot", Function::Cot),
    ("\\sec", Function::Sec),
    ("\\csc", Function::Csc),
    ("\\log", Function::Log),
    ("\\ln", Function::Ln),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Log,
    Ln,
}

impl Function {
    /// The value at `x`; `\sin^{-1}` is the inverse function. None for what Python's `math` does not have.
    fn of(self, x: f64, base: f64, is_inverse: bool) -> Option<f64> {
        Some(match (self, is_inverse) {
            (Self::Sin, false) => x.sin(),
            (Self::Cos, false) => x.cos(),
            (Self::Tan, false) => x.tan(),
            (Self::Sin, true) | (Self::Arcsin, _) => x.asin(),
            (Self::Cos, true) | (Self::Arccos, _) => x.acos(),
            (Self::Tan, true) | (Self::Arctan, _) => x.atan(),
            (Self::Sinh, false) => x.sinh(),
            (Self::Cosh, false) => x.cosh(),
            (Self::Tanh, false) => x.tanh(),
            (Self::Log, false) => x.ln() / base.ln(),
            (Self::Ln, false) => x.ln() / E.ln(),
            _ => return None,
        })
    }
}

fn binomial(n: f64, k: f64) -> Option<f64> {
    let is_small = |x: f64| x.fract() == 0.0 && (0.0..=1_000.0).contains(&x);
    if !is_small(n) || !is_small(k) || k > n {
        return None;
    }
    Some((0..k as u32).fold(1.0, |all, i| all * (n - f64::from(i)) / f64::from(i + 1)).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What latex2sympy 1.9.1 and `eval` under the names of `math` say, rounded to two decimals.
    #[test]
    fn values_of_the_original() {
        for (text, expected) in [
            ("(2)(3)", Some(6.0)),
            ("-\\frac{4}{2}", Some(-2.0)),
            (".5", Some(0.5)),
            ("0.", Some(0.0)),
            ("1,024", Some(1024.0)),
            ("1.5e3", None),
            ("1:2.", Some(0.5)),
            ("10\\,000", Some(0.0)),
            ("16\\sqrt{2}", Some(22.63)),
            ("16\\sqrt{3", None),
            ("2 3", Some(6.0)),
            ("2**10", None),
            ("25%", None),
            ("25\\%", Some(0.25)),
            ("2\\frac{1}{3}", Some(0.67)),
            ("2\\sqrt[3]{8}", Some(4.0)),
            ("3!", Some(6.0)),
            ("3,4", None),
            ("3.14.15", Some(0.47)),
            ("3^2^2", Some(81.0)),
            ("45degrees", None),
            ("60^{\\circ}", None),
            ("4π", None),
            ("\\arcsin(1)", Some(1.57)),
            ("\\binom{4}{2}", Some(6.0)),
            ("\\frac12", None),
            ("\\frac{3}{4}\\pi", Some(2.36)),
            ("\\frac{6}{\\sqrt{3}}", Some(3.46)),
            ("\\infty", None),
            ("\\lfloor3.5\\rfloor", Some(3.0)),
            ("\\log_{2}(8)", Some(3.0)),
            ("\\log(100)", Some(2.0)),
            ("\\sin(30)", Some(-0.99)),
            ("\\sqrt2", None),
            ("\\sqrt{-1}", None),
            ("\\tan^{-1}(1)", Some(0.79)),
            ("\\{3\\}", Some(3.0)),
            ("e^2", Some(7.39)),
            ("e", None),
            ("x", None),
            ("", None),
        ] {
            let found = value(text, Names::Known).map(|value| (value.x * 100.0).round() / 100.0);
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(value("\\sqrt{4}", Names::Lost), None);
        assert_eq!(value("(((((", Names::Known), None);
        assert_eq!(value(&"(".repeat(10_000), Names::Known), None);
        assert_eq!(value(&"--".repeat(10_000), Names::Known), None);
    }
}
