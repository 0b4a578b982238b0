//! What an answer is once read.

use num_rational::BigRational;
use num_traits::Zero as _;

/// A written mathematical object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A number literal; `decimal` when it was written with a point.
    Number { value: BigRational, decimal: bool },
    /// A variable, with its subscript.
    Symbol(String),
    /// The circle constant.
    Pi,
    /// Euler's number.
    E,
    /// Terms, and whether each is subtracted.
    Sum(Vec<(Node, bool)>),
    /// Terms and one more, added in one value and subtracted in the other: `3 \pm 2`. Written out only where two answers
    /// are compared: nested signs would double the answer at every level.
    PlusMinus { terms: Vec<(Node, bool)>, step: Box<Node> },
    /// Factors, and whether each is divided by.
    Product(Vec<(Node, bool)>),
    /// Base and exponent.
    Power(Box<Node>, Box<Node>),
    /// Hundredths.
    Percent(Box<Node>),
    /// A function of its arguments.
    Call(Function, Vec<Node>),
    /// Words, without spaces and in lower case, and what they are as a product of letters.
    Words { text: String, product: Box<Node> },
    /// Members in any order; `1, 2` and `{1, 2}`.
    Set(Vec<Node>),
    /// Members in brackets: a tuple or an interval.
    Sequence { open: char, items: Vec<Node>, close: char },
    /// A union of sets.
    Union(Vec<Node>),
    /// Rows of entries.
    Matrix(Vec<Vec<Node>>),
    /// `n + 1` sides joined by `n` relations.
    Relation { sides: Vec<Node>, relations: Vec<Relation> },
}

/// How two sides relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Relation {
    /// The relation read from right to left.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
        }
    }
}

/// A function that we evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
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
    /// Of the argument, to the base given second.
    Log,
    Abs,
    Floor,
    Ceil,
    Factorial,
    /// Of n and k.
    Binomial,
}

impl Node {
    /// An integer literal.
    pub(super) fn integer(value: i64) -> Self {
        Self::Number { value: BigRational::from_integer(value.into()), decimal: false }
    }

    /// Whether it is a number literal.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Number { .. })
    }

    /// Whether it is a whole number: a literal, a negative one, or a fraction of literals that is one.
    pub(super) fn is_whole(&self) -> bool {
        let literal = |node: &Self| match node {
            Self::Number { value, decimal: false } if value.is_integer() => Some(value.clone()),
            _ => None,
        };
        match self {
            Self::Sum(terms) => matches!(&terms[..], [(term, true)] if literal(term).is_some()),
            Self::Product(parts) => match &parts[..] {
                [(above, false), (below, true)] => literal(above)
                    .zip(literal(below))
                    .is_some_and(|(above, below)| !below.is_zero() && (above / below).is_integer()),
                _ => false,
            },
            node => literal(node).is_some(),
        }
    }

    /// Whether every relation of a chain is `=`.
    pub(super) fn is_equation(&self) -> bool {
        matches!(self, Self::Relation { relations, .. } if relations.iter().all(|r| *r == Relation::Equal))
    }

    /// Whether it is an equation with only variables on the left: `x = 3`, `f(x) = 2x`, `(x, y) = (1, 2)`.
    pub(super) fn is_assignment(&self) -> bool {
        matches!(self, Self::Relation { sides, .. } if self.is_equation() && sides.first().is_some_and(Self::is_symbols))
    }

    /// Nodes that it is made of, itself included.
    pub(super) fn size(&self) -> usize {
        let signed = |parts: &[(Self, bool)]| parts.iter().map(|(part, _)| part.size()).sum::<usize>();
        let all = |parts: &[Self]| parts.iter().map(Self::size).sum::<usize>();
        1 + match self {
            Self::Number { .. } | Self::Symbol(_) | Self::Pi | Self::E => 0,
            Self::Sum(parts) | Self::Product(parts) => signed(parts),
            Self::PlusMinus { terms, step } => signed(terms) + step.size(),
            Self::Power(base, exponent) => base.size() + exponent.size(),
            Self::Percent(inner) | Self::Words { product: inner, .. } => inner.size(),
            Self::Call(_, parts) | Self::Set(parts) | Self::Union(parts) => all(parts),
            Self::Sequence { items, .. } => all(items),
            Self::Matrix(rows) => rows.iter().map(|row| all(row)).sum(),
            Self::Relation { sides, .. } => all(sides),
        }
    }

    /// The last side of a relation; the node itself when it is none.
    pub(super) fn last_side(&self) -> &Self {
        match self {
            Self::Relation { sides, .. } => sides.last().unwrap_or(self),
            _ => self,
        }
    }

    /// Whether it is a single variable.
    pub(super) fn is_name(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::Words { text, .. } => text.len() == 1 && text != "e",
            _ => false,
        }
    }

    /// Whether it is a product of variables and Euler's number, as words are.
    pub(super) fn is_symbols_or_e(&self) -> bool {
        match self {
            Self::E | Self::Symbol(_) | Self::Words { .. } => true,
            Self::Product(factors) => {
                factors.iter().all(|(factor, inverse)| !inverse && factor.is_symbols_or_e())
            }
            _ => false,
        }
    }

    fn is_symbols(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::Words { product, .. } => product.is_symbols(),
            Self::Product(factors) => factors.iter().all(|(factor, inverse)| !inverse && factor.is_symbols()),
            Self::Sequence { items, .. } => items.iter().all(Self::is_symbols),
            _ => false,
        }
    }
}
