//! Expressions of digits and operators, as Python's parser takes them.

use reft_math::Reading;
use reft_math::python::is_space;

/// Reads an expression as Python would: no factors side by side, no leading zeros, only ASCII operators.
pub(super) fn read(text: &str) -> Option<Reading> {
    let mut python = Python { rest: text, depth: 0 };
    python.sum()?;
    if !python.rest.trim_start().is_empty() {
        return None;
    }
    let powers = text.replace("**", "^");
    let mut read = String::with_capacity(powers.len());
    let mut rest = powers.chars().peekable();
    while let Some(c) = rest.next() {
        read.push(c);
        // `6.` is a number; for our reader it needs its zero.
        if c == '.' && rest.peek().is_none_or(|next| !next.is_ascii_digit()) {
            read.push('0');
        }
    }
    reft_math::read(&read)
}

/// Checks the grammar of a Python expression of numbers.
struct Python<'a> {
    rest: &'a str,
    depth: usize,
}

impl Python<'_> {
    fn eat(&mut self, marks: &[char]) -> bool {
        let rest = self.rest.trim_start_matches(is_space);
        match rest.strip_prefix(marks) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > 50 {
            return None;
        }
        self.factor()?;
        // `**` is a power as `^` is; `//` fails because a `/` starts no factor.
        loop {
            if self.eat(&['*']) {
                self.rest = self.rest.strip_prefix('*').unwrap_or(self.rest);
            } else if !self.eat(&['+', '-', '/', '^']) {
                break;
            }
            self.factor()?;
        }
        self.depth -= 1;
        Some(())
    }

    fn factor(&mut self) -> Option<()> {
        while self.eat(&['+', '-']) {}
        if self.eat(&['(']) {
            self.sum()?;
            return self.eat(&[')']).then_some(());
        }
        self.number()
    }

    fn number(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(is_space);
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (literal, after) = rest.split_at(end);
        self.rest = after;
        let zeros = literal.starts_with('0') && literal.contains(|c| c != '0') && !literal.contains('.');
        (literal.parse::<f64>().is_ok() && !zeros).then_some(())
    }
}
