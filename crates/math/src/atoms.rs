//! The smallest parts of the grammar: groups, roots, fractions, functions, matrices.
//!
//! ```text
//! base = number | letter ["_" subscript] | "(" list ")" | "[" list "]" | "{" list "}" | "\{" list "\}"
//!      | "|" sum "|" | "\frac" base base | "\sqrt" ["[" sum "]"] base | "\sin" argument | "\begin" rows "\end" | ...
//! ```

use super::{
    Refusal,
    lex::Token,
    names::{function, is_greek},
    node::{Function, Node},
    parse::{Parser, one_or},
};

impl Parser<'_> {
    pub(super) fn base(&mut self) -> Result<Node, Refusal> {
        let token = self.peek().cloned().ok_or(Refusal::Unread)?;
        self.at += 1;
        match token {
            Token::Number { value, decimal, .. } => Ok(Node::Number { value, decimal }),
            Token::Word(word) if word == "e" && self.peek() != Some(&Token::Mark('_')) => Ok(Node::E),
            Token::Word(word) => self.symbol(&word.to_lowercase()),
            Token::Text(text) => Ok(Node::Symbol(text.to_lowercase())),
            Token::Mark('(') => self.bracketed('('),
            Token::Mark('[') => self.bracketed('['),
            Token::Mark('{') => {
                let items = self.items()?;
                self.expect('}')?;
                Ok(if items.len() == 1 { one(items) } else { Node::Set(items) })
            }
            Token::Mark('⟨') => {
                if self.eat('⟩') {
                    return Ok(Node::Set(Vec::new()));
                }
                let items = self.items()?;
                self.expect('⟩')?;
                Ok(Node::Set(items))
            }
            Token::Mark('|') => self.absolute(|parser| parser.expect('|')),
            Token::Command(name) => self.command(&name),
            Token::Mark(_) => Err(Refusal::Unread),
        }
    }

    fn symbol(&mut self, name: &str) -> Result<Node, Refusal> {
        if !self.eat('_') {
            return Ok(Node::Symbol(name.to_owned()));
        }
        let mut full = format!("{name}_");
        if self.eat('{') {
            while !self.eat('}') {
                full.push_str(&self.subscript_piece()?);
            }
        } else {
            full.push_str(&self.subscript_piece()?);
        }
        Ok(Node::Symbol(full))
    }

    fn subscript_piece(&mut self) -> Result<String, Refusal> {
        let piece = match self.peek() {
            Some(Token::Number { digits: Some(digits), .. }) => digits.clone(),
            Some(Token::Word(word) | Token::Text(word)) => word.clone(),
            _ => return Err(Refusal::Unread),
        };
        self.at += 1;
        Ok(piece)
    }

    /// A group, a tuple or an interval.
    fn bracketed(&mut self, open: char) -> Result<Node, Refusal> {
        let bars = std::mem::take(&mut self.bars);
        let items = self.items();
        // Put back before an error leaves: the caller may go on with another reading, inside its own bars.
        self.bars = bars;
        let items = items?;
        let close = if self.eat(')') {
            ')'
        } else if self.eat(']') {
            ']'
        } else {
            return Err(Refusal::Unread);
        };
        if items.len() > 1 {
            return Ok(Node::Sequence { open, items, close });
        }
        if (open == '(') != (close == ')') {
            return Err(Refusal::Unread);
        }
        Ok(one(items))
    }

    fn absolute(&mut self, close: impl FnOnce(&mut Self) -> Result<(), Refusal>) -> Result<Node, Refusal> {
        self.bars += 1;
        let inner = self.sum();
        self.bars -= 1;
        let inner = inner?;
        close(self)?;
        Ok(Node::Call(Function::Abs, vec![inner]))
    }

    fn command(&mut self, name: &str) -> Result<Node, Refusal> {
        match name {
            "pi" => Ok(Node::Pi),
            "infty" => Ok(Node::Symbol("∞".to_owned())),
            "emptyset" => Ok(Node::Set(Vec::new())),
            "frac" => self.fraction(),
            "sqrt" => self.root(),
            "binom" => {
                let (n, k) = (self.argument()?, self.argument()?);
                Ok(Node::Call(Function::Binomial, vec![n, k]))
            }
            "lvert" => self.absolute(|parser| parser.closing("rvert")),
            "vert" => self.absolute(|parser| parser.closing("vert")),
            "lfloor" => self.rounded(Function::Floor, "rfloor"),
            "lceil" => self.rounded(Function::Ceil, "rceil"),
            "ln" => {
                let argument = self.function_argument()?;
                Ok(Node::Call(Function::Log, vec![argument, Node::E]))
            }
            "log" | "lg" => {
                let base = if self.eat('_') { self.argument()? } else { Node::integer(10) };
                let argument = self.function_argument()?;
                Ok(Node::Call(Function::Log, vec![argument, base]))
            }
            "exp" => {
                let argument = self.function_argument()?;
                Ok(Node::Power(Box::new(Node::E), Box::new(argument)))
            }
            "begin" => self.matrix(),
            name if is_greek(name) => self.symbol(&format!("\\{name}")),
            name => {
                let function = function(name).ok_or(Refusal::Unread)?;
                let power = if self.eat('^') { self.exponent()? } else { None };
                let value = Node::Call(function, vec![self.function_argument()?]);
                Ok(match power {
                    Some(power) => Node::Power(Box::new(value), Box::new(power)),
                    None => value,
                })
            }
        }
    }

    fn closing(&mut self, name: &str) -> Result<(), Refusal> {
        if self.eat_command(&[name]) { Ok(()) } else { Err(Refusal::Unread) }
    }

    fn rounded(&mut self, function: Function, close: &str) -> Result<Node, Refusal> {
        let inner = self.sum()?;
        self.closing(close)?;
        Ok(Node::Call(function, vec![inner]))
    }

    /// `\frac{a}{b}`, `\frac12`, `\frac1{2}`.
    fn fraction(&mut self) -> Result<Node, Refusal> {
        if let Some(Token::Number { digits: Some(digits), .. }) = self.peek()
            && digits.len() > 1
        {
            let (numerator, denominator) = digits.split_at(1);
            let number = |digits: &str| digits.parse().map(Node::integer).map_err(|_| Refusal::TooHard);
            let fraction = Node::Product(vec![(number(numerator)?, false), (number(denominator)?, true)]);
            self.at += 1;
            return Ok(fraction);
        }
        let (numerator, denominator) = (self.argument()?, self.argument()?);
        Ok(Node::Product(vec![(numerator, false), (denominator, true)]))
    }

    /// `\sqrt{a}`, `\sqrt[n]{a}`, `\sqrt2`, `sqrt(a)`.
    fn root(&mut self) -> Result<Node, Refusal> {
        let index = if self.eat('[') {
            let index = self.sum()?;
            self.expect(']')?;
            index
        } else {
            Node::integer(2)
        };
        if matches!(self.peek(), Some(Token::Number { digits, .. }) if digits.as_ref().is_none_or(|d| d.len() > 1))
        {
            return Err(Refusal::Unread);
        }
        let radicand = self.argument()?;
        let exponent = Node::Product(vec![(Node::integer(1), false), (index, true)]);
        Ok(Node::Power(Box::new(radicand), Box::new(exponent)))
    }

    /// The next group or single token.
    fn argument(&mut self) -> Result<Node, Refusal> {
        self.deeper(Self::base)
    }

    /// `\sin x`, `\sin(x)`, `\sin 2x`: a bracket, or a product up to the next function.
    fn function_argument(&mut self) -> Result<Node, Refusal> {
        if matches!(self.peek(), Some(Token::Mark('(' | '{'))) {
            return self.argument();
        }
        let negative = self.signs();
        let mut factors = vec![(self.power()?, false)];
        while self.starts_factor() && !matches!(self.peek(), Some(Token::Mark('('))) && !self.at_function() {
            factors.push((self.power()?, false));
        }
        let argument = one_or(factors, Node::Product);
        Ok(if negative { Node::Sum(vec![(argument, true)]) } else { argument })
    }

    pub(super) fn at_function(&self) -> bool {
        matches!(self.peek(), Some(Token::Command(name)) if function(name).is_some() || ["ln", "log", "lg", "exp"].contains(&name.as_str()))
    }

    fn matrix(&mut self) -> Result<Node, Refusal> {
        let mut rows = vec![Vec::new()];
        loop {
            let entry = self.sum()?;
            if let Some(row) = rows.last_mut() {
                row.push(entry);
            }
            if self.eat('&') {
                continue;
            }
            let ends_row = self.eat('⏎');
            if self.eat_command(&["end"]) {
                return Ok(Node::Matrix(rows));
            }
            if !ends_row {
                return Err(Refusal::Unread);
            }
            rows.push(Vec::new());
        }
    }
}

/// The single element of a list that has one.
fn one(mut items: Vec<Node>) -> Node {
    items.swap_remove(0)
}
