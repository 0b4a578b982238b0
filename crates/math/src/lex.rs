//! From text to tokens: numbers, words, commands and marks. Spacing, sizing and dollar signs vanish here.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Pow as _;

use super::Refusal;
use crate::latex::group_end;

/// The smallest piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A number literal; `digits` is set for plain digits, which `\frac12` takes apart.
    Number { value: BigRational, decimal: bool, digits: Option<String> },
    /// A run of letters.
    Word(String),
    /// `\name`.
    Command(String),
    /// The content of `\text{..}` and its kin.
    Text(String),
    /// Any other character; `⟨` and `⟩` stand for `\{` and `\}`, `⏎` for the end of a matrix row.
    Mark(char),
}

/// Largest power of ten in `6.02E23`.
const MAX_DECIMAL_EXPONENT: u32 = 400;

/// The `i` of `5i`: to math-verify another symbol than the one of `5 i`.
pub(super) const GLUED_I: char = 'ⅈ';

/// Commands that only change how something looks.
const SILENT: [&str; 19] = [
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "limits",
    "quad",
    "qquad",
    "mleft",
    "mright",
    "nonumber",
    "mathstrut",
];

/// Splits a text into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut lexer = Lexer { text, at: 0, depth: 0, in_matrix: false, found: Vec::new() };
    while let Some(c) = lexer.peek() {
        lexer.token(c)?;
    }
    Ok(lexer.found)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Open brackets: inside them a comma separates, outside it may group thousands.
    depth: i32,
    in_matrix: bool,
    found: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn token(&mut self, c: char) -> Result<(), Refusal> {
        match c {
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            'a'..='z' | 'A'..='Z' => self.word(),
            '\\' => self.command(),
            _ => {
                self.at += c.len_utf8();
                self.mark(c);
                Ok(())
            }
        }
    }

    fn mark(&mut self, c: char) {
        let command = match c {
            'π' => "pi",
            '∞' => "infty",
            '√' => "sqrt",
            '≤' => "le",
            '≥' => "ge",
            '≠' => "ne",
            '±' => "pm",
            '∪' => "cup",
            '∈' => "in",
            '∅' => "emptyset",
            _ => "",
        };
        if !command.is_empty() {
            return self.push_command(command);
        }
        let mark = match c {
            c if c.is_whitespace() => return,
            '$' | '~' | '"' | '°' => return,
            'α'..='ω' | 'Α'..='Ω' => return self.found.push(Token::Word(c.to_string())),
            '²' | '³' => {
                self.found.push(Token::Mark('^'));
                return self.push_integer(if c == '²' { 2 } else { 3 });
            }
            '−' | '–' => '-',
            '×' | '·' | '⋅' | '∙' => '*',
            '÷' => '/',
            '（' => '(',
            '）' => ')',
            '，' | ';' => ',',
            c => c,
        };
        match mark {
            '(' | '[' => self.depth += 1,
            ')' | ']' => self.depth -= 1,
            _ => {}
        }
        self.found.push(Token::Mark(mark));
    }

    fn push_command(&mut self, name: &str) {
        self.found.push(Token::Command(name.to_owned()));
    }

    fn push_integer(&mut self, value: u32) {
        self.found.push(Token::Number {
            value: BigRational::from_integer(value.into()),
            decimal: false,
            digits: Some(value.to_string()),
        });
    }

    fn word(&mut self) -> Result<(), Refusal> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let before = self.text[..self.at].chars().next_back();
        self.at += end;
        let token = match &rest[..end] {
            "and" | "or" => Token::Mark(','),
            "percent" | "percentage" | "pct" if !before.is_some_and(|c| c.is_ascii_digit()) => {
                Token::Mark('%')
            }
            // math-verify loses what follows a space before a root without backslash.
            "sqrt" if before.is_some_and(char::is_whitespace) => return Err(Refusal::Unread),
            "sqrt" if self.rest().trim_start().starts_with('(') => Token::Command("sqrt".to_owned()),
            "i" if before.is_some_and(|c| c.is_ascii_digit()) => Token::Word(GLUED_I.to_string()),
            "infinity" | "inf" => Token::Command("infty".to_owned()),
            word => Token::Word(word.to_owned()),
        };
        self.found.push(token);
        Ok(())
    }

    /// Digits with thousands separators outside brackets, a fraction, and a power of ten after a capital `E`.
    fn number(&mut self) -> Result<(), Refusal> {
        let mut digits = self.digits();
        let mut plain = true;
        let alone = self.stands_alone();
        while let Some(group) = self.thousands(&digits, plain).filter(|_| alone) {
            digits.push_str(&group);
            plain = false;
        }
        let mut decimals = 0;
        let mut decimal = false;
        if self.rest().starts_with('.') {
            let after = &self.rest()[1..];
            if after.starts_with(|c: char| c.is_ascii_digit()) {
                self.at += 1;
                let fraction = self.digits();
                decimals = fraction.len();
                digits.push_str(&fraction);
                decimal = true;
            } else if after.trim().is_empty()
                && self.found.iter().all(|token| matches!(token, Token::Mark('-' | '+')))
            {
                // A sentence's full stop after a bare number.
                self.at += 1;
            }
        }
        let whole: BigInt = digits.parse().map_err(|_| Refusal::Unread)?;
        let mut value = BigRational::new(whole, BigInt::from(10).pow(decimals));
        if let Some(exponent) = self.scientific()? {
            let power = BigRational::from_integer(BigInt::from(10).pow(exponent.unsigned_abs()));
            value = if exponent < 0 { value / power } else { value * power };
            decimal = true;
        }
        let digits = (plain && !decimal).then_some(digits);
        self.found.push(Token::Number { value, decimal, digits });
        Ok(())
    }

    /// Whether the number that has begun is all there is, but for a sign before it and a unit behind it. Only then do
    /// commas group its digits; in `x = 1,234` and `1,234 + 1` math-verify takes them for separators.
    fn stands_alone(&self) -> bool {
        let only_sign = self.found.iter().all(|token| matches!(token, Token::Mark('-' | '+')));
        let in_number = |c: char| c.is_ascii_digit() || ",.{}".contains(c);
        let behind = self.rest().trim_start_matches(in_number);
        let behind = behind.trim_start_matches(|c: char| c.is_whitespace() || "$~°\\,;!:".contains(c));
        only_sign && (behind.is_empty() || behind.starts_with(|c: char| c.is_ascii_alphabetic()))
    }

    fn digits(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    /// The next group of three digits after a separator, when the digits so far can have one.
    fn thousands(&mut self, so_far: &str, first: bool) -> Option<String> {
        if self.depth > 0 || so_far.is_empty() || (first && (so_far.len() > 3 || so_far.starts_with('0'))) {
            return None;
        }
        let rest = self.rest();
        let after = rest.strip_prefix("{,}").or_else(|| rest.strip_prefix(','))?;
        let group = after.get(..3).filter(|group| group.bytes().all(|b| b.is_ascii_digit()))?;
        if after[3..].starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += rest.len() - after.len() + 3;
        Some(group.to_owned())
    }

    fn scientific(&mut self) -> Result<Option<i32>, Refusal> {
        let Some(after) = self.rest().strip_prefix('E') else {
            return Ok(None);
        };
        let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
        let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        if end == 0 {
            return Ok(None);
        }
        let exponent: u32 = unsigned[..end].parse().map_err(|_| Refusal::TooHard)?;
        if exponent > MAX_DECIMAL_EXPONENT {
            return Err(Refusal::TooHard);
        }
        self.at += 1 + (after.len() - unsigned.len()) + end;
        let exponent = exponent.cast_signed();
        Ok(Some(if after.starts_with('-') { -exponent } else { exponent }))
    }

    fn command(&mut self) -> Result<(), Refusal> {
        let after = &self.rest()[1..];
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        if end == 0 {
            return self.escaped(after);
        }
        let name = &after[..end];
        self.at += 1 + end;
        match name {
            name if SILENT.contains(&name) => {}
            "text" | "mathrm" | "textbf" | "textit" | "textrm" | "mathbf" | "mathit" | "mbox"
            | "textnormal" | "operatorname" => return self.text_command(),
            "begin" => return self.environment(true),
            "end" => return self.environment(false),
            "dfrac" | "tfrac" | "cfrac" => self.push_command("frac"),
            "dbinom" | "tbinom" => self.push_command("binom"),
            name => self.push_command(name),
        }
        Ok(())
    }

    /// A backslash before something else than a letter.
    fn escaped(&mut self, after: &str) -> Result<(), Refusal> {
        let Some(c) = after.chars().next() else {
            return Err(Refusal::Unread);
        };
        self.at += 1 + c.len_utf8();
        match c {
            '{' => {
                self.depth += 1;
                self.found.push(Token::Mark('⟨'));
            }
            '}' => {
                self.depth -= 1;
                self.found.push(Token::Mark('⟩'));
            }
            '%' => self.found.push(Token::Mark('%')),
            '|' => self.found.push(Token::Mark('|')),
            '\\' if self.in_matrix => self.found.push(Token::Mark('⏎')),
            // A doubly escaped command: give back one backslash.
            '\\' => self.at -= 1,
            ',' | ';' | ':' | '!' | ' ' | '$' | '(' | ')' | '[' | ']' => {}
            _ => return Err(Refusal::Unread),
        }
        Ok(())
    }

    /// `{content}` after a text command. Words that join answers are commas; content without letters is mathematics.
    fn text_command(&mut self) -> Result<(), Refusal> {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start().len();
        if !rest[spaces..].starts_with('{') {
            return Err(Refusal::Unread);
        }
        let start = spaces + 1;
        let end = group_end(rest, start).ok_or(Refusal::Unread)?;
        let content = rest[start..end].trim();
        self.at += end + 1;
        match content {
            "" => {}
            "and" | "or" | ", and" | ", or" => self.found.push(Token::Mark(',')),
            "percent" | "percentage" | "pct" => self.found.push(Token::Mark('%')),
            content if content.contains(|c: char| c.is_alphabetic() || c == '\\') => {
                self.found.push(Token::Text(content.to_owned()));
            }
            content => self.found.extend(tokens(content)?),
        }
        Ok(())
    }

    fn environment(&mut self, opens: bool) -> Result<(), Refusal> {
        let rest = self.rest();
        let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(Refusal::Unread)?.0;
        // A determinant (`vmatrix`) is a number, which we do not compute.
        if !["pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix"].contains(&name) {
            return Err(Refusal::Unread);
        }
        self.at += name.len() + 2;
        self.in_matrix = opens;
        self.push_command(if opens { "begin" } else { "end" });
        Ok(())
    }
}
