//! From tokens to a [`Node`], by recursive descent.
//!
//! ```text
//! list     = relation ("," relation)*
//! relation = union (("=" | "<" | ...) union)*
//! union    = sum ("\cup" sum)*
//! sum      = ["+" | "-" | "\pm"] product (("+" | "-" | "\pm") product)*
//! product  = implicit (("*" | "\cdot" | "/" | ":") implicit)*
//! implicit = power power*            binds tighter than "/": a/bc is a/(bc)
//! power    = base postfix* ["^" exponent]
//! ```

use super::{
    MAX_CHARS, Refusal,
    lex::{self, Token},
    names::{function, is_greek},
    node::{Function, Node, Relation},
    trim::{drop_name, drop_unit, split_words, words},
};

/// Deepest nesting of groups, roots and exponents.
const MAX_DEPTH: usize = 40;
/// Groups, roots and exponents of a text. One has fewer than characters; the limit ends any reading that would go back and
/// forth.
const MAX_STEPS: usize = 4 * MAX_CHARS;

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Node, Refusal> {
    if text.chars().count() > MAX_CHARS {
        return Err(Refusal::TooHard);
    }
    if let Some(words) = words(text) {
        return Ok(words);
    }
    let mut tokens = lex::tokens(text)?;
    drop_unit(&mut tokens);
    drop_name(&mut tokens);
    let mut parser = Parser { tokens: &split_words(tokens), at: 0, depth: 0, steps: 0, bars: 0 };
    let node = parser.list()?;
    if parser.at < parser.tokens.len() {
        return Err(Refusal::Unread);
    }
    Ok(node)
}

pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
    depth: usize,
    steps: usize,
    /// Open absolute values: inside one, a bar closes.
    pub(super) bars: usize,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn eat(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    pub(super) fn eat_command(&mut self, names: &[&str]) -> bool {
        let found = matches!(self.peek(), Some(Token::Command(name)) if names.contains(&name.as_str()));
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, mark: char) -> Result<(), Refusal> {
        if self.eat(mark) { Ok(()) } else { Err(Refusal::Unread) }
    }

    pub(super) fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if self.depth == MAX_DEPTH || self.steps == MAX_STEPS {
            return Err(Refusal::TooHard);
        }
        self.steps += 1;
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self) -> Result<Node, Refusal> {
        let mut items = self.items()?;
        match items.len() {
            1 => Ok(items.remove(0)),
            _ => Ok(Node::Set(items)),
        }
    }

    pub(super) fn items(&mut self) -> Result<Vec<Node>, Refusal> {
        let mut items = vec![self.relation()?];
        while self.eat(',') {
            // `1, 2, and 3` has two separators in a row.
            while self.eat(',') {}
            items.push(self.relation()?);
        }
        Ok(items)
    }

    fn relation(&mut self) -> Result<Node, Refusal> {
        let mut sides = vec![self.union()?];
        let mut relations = Vec::new();
        while let Some(relation) = self.relation_sign() {
            relations.push(relation);
            sides.push(self.union()?);
        }
        Ok(if relations.is_empty() { sides.remove(0) } else { Node::Relation { sides, relations } })
    }

    fn relation_sign(&mut self) -> Option<Relation> {
        let relation = match self.peek()? {
            Token::Mark('=') => Relation::Equal,
            Token::Mark('<') => Relation::Less,
            Token::Mark('>') => Relation::Greater,
            Token::Command(name) => match name.as_str() {
                "le" | "leq" | "leqslant" => Relation::LessEqual,
                "ge" | "geq" | "geqslant" => Relation::GreaterEqual,
                "lt" => Relation::Less,
                "gt" => Relation::Greater,
                "ne" | "neq" => Relation::NotEqual,
                _ => return None,
            },
            _ => return None,
        };
        self.at += 1;
        if self.eat('=') {
            return match relation {
                Relation::Less => Some(Relation::LessEqual),
                Relation::Greater => Some(Relation::GreaterEqual),
                relation => Some(relation),
            };
        }
        Some(relation)
    }

    fn union(&mut self) -> Result<Node, Refusal> {
        let first = self.sum()?;
        if !matches!(self.peek(), Some(Token::Command(name)) if name == "cup") {
            return Ok(first);
        }
        let mut members = vec![first];
        while self.eat_command(&["cup"]) {
            members.push(self.sum()?);
        }
        Ok(Node::Union(members))
    }

    pub(super) fn sum(&mut self) -> Result<Node, Refusal> {
        if self.eat_command(&["pm", "mp"]) {
            return Ok(Node::PlusMinus { terms: Vec::new(), step: Box::new(self.product()?) });
        }
        let negative = self.signs();
        let first = self.product()?;
        let mut terms = vec![(first, negative)];
        loop {
            if self.eat_command(&["pm", "mp"]) {
                return Ok(Node::PlusMinus { terms, step: Box::new(self.product()?) });
            }
            let subtract = match self.peek() {
                Some(Token::Mark('+')) => false,
                Some(Token::Mark('-')) => true,
                _ => break,
            };
            self.at += 1;
            let negative = self.signs();
            terms.push((self.product()?, subtract != negative));
        }
        match terms.len() {
            1 if !terms[0].1 => Ok(terms.remove(0).0),
            _ => Ok(Node::Sum(terms)),
        }
    }

    /// Any run of signs; whether together they negate.
    pub(super) fn signs(&mut self) -> bool {
        let mut negative = false;
        while let Some(Token::Mark(sign @ ('+' | '-'))) = self.peek() {
            negative ^= *sign == '-';
            self.at += 1;
        }
        negative
    }

    fn product(&mut self) -> Result<Node, Refusal> {
        let mut factors = vec![(self.implicit()?, false)];
        loop {
            let inverse = match self.peek() {
                Some(Token::Mark('*')) => false,
                Some(Token::Mark('/' | ':')) => true,
                Some(Token::Command(name)) if name == "cdot" || name == "times" || name == "ast" => false,
                Some(Token::Command(name)) if name == "div" => true,
                _ => break,
            };
            self.at += 1;
            let negative = self.signs();
            let factor = self.implicit()?;
            factors.push((if negative { Node::Sum(vec![(factor, true)]) } else { factor }, inverse));
        }
        Ok(one_or(factors, Node::Product))
    }

    fn implicit(&mut self) -> Result<Node, Refusal> {
        let first = self.power()?;
        let mut factors = vec![(first, false)];
        if is_integer(&factors[0].0) && matches!(self.peek(), Some(Token::Command(name)) if name == "frac") {
            factors.push((self.power()?, false));
            // `1\frac{1}{2}`: an integer right before a fraction of integers is a mixed number.
            let is_mixed = matches!(
                &factors[1].0,
                Node::Product(parts) if parts.len() == 2 && parts.iter().all(|(part, _)| is_integer(part))
            );
            if is_mixed {
                return Ok(Node::Sum(factors));
            }
        }
        loop {
            let bare = matches!(self.peek(), Some(Token::Number { .. }));
            if !bare && !self.starts_factor() {
                return Ok(one_or(factors, Node::Product));
            }
            let factor = self.power()?;
            let before = factors.last().map(|(factor, _)| factor);
            // `2 3`, `(2)3` and `2(3)` are products to some and mixed numbers to math-verify; `2.5 3` is a slip.
            let ambiguous = before.is_some_and(|before| {
                (before.is_whole() && factor.is_whole()) || (bare && before.is_number() && factor.is_number())
            });
            if ambiguous {
                return Err(Refusal::Unread);
            }
            factors.push((factor, false));
        }
    }

    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            Some(Token::Word(_) | Token::Text(_) | Token::Mark('(' | '{')) => true,
            Some(Token::Mark('|')) => self.bars == 0,
            Some(Token::Command(name)) => {
                matches!(
                    name.as_str(),
                    "frac"
                        | "sqrt"
                        | "pi"
                        | "infty"
                        | "binom"
                        | "lfloor"
                        | "lceil"
                        | "lvert"
                        | "log"
                        | "ln"
                        | "lg"
                        | "exp"
                ) || function(name).is_some()
                    || is_greek(name)
            }
            _ => false,
        }
    }

    pub(super) fn power(&mut self) -> Result<Node, Refusal> {
        self.deeper(|parser| {
            let mut base = parser.base()?;
            for _ in 0..3 {
                if parser.eat('!') {
                    base = Node::Call(Function::Factorial, vec![base]);
                }
            }
            if parser.eat('^') {
                match parser.exponent()? {
                    Some(exponent) => base = Node::Power(Box::new(base), Box::new(exponent)),
                    None => return Ok(base),
                }
                if parser.eat('!') {
                    base = Node::Call(Function::Factorial, vec![base]);
                }
            }
            if parser.eat('%') {
                base = Node::Percent(Box::new(base));
            }
            Ok(base)
        })
    }

    /// What stands after `^`; none for a degree sign, which is a unit.
    pub(super) fn exponent(&mut self) -> Result<Option<Node>, Refusal> {
        if self.eat_command(&["circ"]) {
            return Ok(None);
        }
        if let [Token::Mark('{'), Token::Command(name), Token::Mark('}'), ..] = &self.tokens[self.at..]
            && name == "circ"
        {
            self.at += 3;
            return Ok(None);
        }
        let negative = self.signs();
        let exponent = self.power()?;
        Ok(Some(if negative { Node::Sum(vec![(exponent, true)]) } else { exponent }))
    }
}

fn is_integer(node: &Node) -> bool {
    matches!(node, Node::Number { value, decimal: false } if value.is_integer())
}

/// The single factor, or what many make.
pub(super) fn one_or(mut factors: Vec<(Node, bool)>, many: impl FnOnce(Vec<(Node, bool)>) -> Node) -> Node {
    if factors.len() == 1 && !factors[0].1 { factors.swap_remove(0).0 } else { many(factors) }
}
