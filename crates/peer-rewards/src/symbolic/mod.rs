//! The symbolic step that most of the peers start with: math-verify 0.9 on whole texts.
//!
//! `verify(parse(completion), parse(solution))` with the defaults, the completion taken as the right answer. `parse`
//! looks for something mathematical *anywhere* in a text, tags and thinking included, in this order: after "final
//! answer is .. I hope"; after "final answer is", or boxed; after "answer:"; after "answer"; anywhere. In each group
//! the match that ends last is read first, and the first that can be read counts. A plain number needs white space, a
//! line start or `=` before it.
//!
//! What it gets wrong as a reward, and so do all who use it so:
//! - the word *answer* of the tags themselves anchors the search, and `<answer>5</answer>` holds no number (the `>`
//!   stands before it), while `<answer> 5 </answer>` does;
//! - in a list of boxes the first coordinate after a space decides, so a box elsewhere earns full marks;
//! - units, nouns and everything around the number are ignored: 12 apples are 12 pears.
//!
//! The original is bounded by five seconds; ours by a fixed number of steps, after which a text holds nothing.

mod boxed;
mod expression;
mod latex;
mod plain;

use reft_math::Reading;

/// Whether the symbolic step runs, or fails with an exception as where math-verify is missing or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbolic {
    /// It runs.
    On,
    /// It raises.
    Raises,
}

/// The symbolic step raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raised;

impl Symbolic {
    /// Whether the two texts hold the same mathematics.
    pub(super) fn same(self, completion: &str, solution: &str) -> Result<bool, Raised> {
        match self {
            Self::On => Ok(Found::in_text(completion).same(&Found::in_text(solution))),
            Self::Raises => Err(Raised),
        }
    }
}

/// math-verify 0.9 on whole texts: `verify(parse(gold), parse(answer))`.
pub fn math_verify(gold: &str, answer: &str) -> bool {
    Found::in_text(gold).same(&Found::in_text(answer))
}

/// Steps that a search may take; one of 100 kB of ordinary text takes 1.2 million.
const STEPS: usize = 4_000_000;

/// What a text holds: a value, and the first match as text whether or not it could be read.
#[derive(Default)]
struct Found {
    value: Option<Reading>,
    text: Option<String>,
}

impl Found {
    fn in_text(text: &str) -> Self {
        Self::search(text).unwrap_or_default()
    }

    fn search(text: &str) -> Result<Self, OutOfSteps> {
        let text: Vec<char> = text.chars().collect();
        let mut steps = Steps(STEPS);
        let mut found = Self::default();
        for anchor in Anchor::ALL {
            let mut matches = latex::matches(&text, anchor, &mut steps)?;
            matches.extend(plain::matches(&text, anchor, &mut steps)?);
            // The last end first; of equal ends the longest match.
            matches.sort_by(|a, b| (b.end, a.start).cmp(&(a.end, b.start)));
            for candidate in matches {
                let (value, fallback) = candidate.content.read();
                if found.text.is_none() && !fallback.is_empty() {
                    found.text = Some(fallback);
                }
                if value.is_some() {
                    found.value = value;
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn same(&self, other: &Self) -> bool {
        let values = self.value.as_ref().zip(other.value.as_ref());
        let texts = self.text.as_ref().zip(other.text.as_ref());
        values.is_some_and(|(a, b)| reft_math::readings_equal(a, b))
            || texts.is_some_and(|(a, b)| a.trim() == b.trim())
    }
}

/// What must stand before a match, in the order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    /// "final answer is", and "I hope" after it.
    FinalAnswerIHope,
    /// "final answer .. is", or a box.
    FinalAnswerOrBoxed,
    /// "answer:".
    AnswerColon,
    /// "answer".
    Answer,
    /// Nothing.
    Anywhere,
}

impl Anchor {
    const ALL: [Self; 5] =
        [Self::FinalAnswerIHope, Self::FinalAnswerOrBoxed, Self::AnswerColon, Self::Answer, Self::Anywhere];
}

/// A place in the text that may hold the answer.
struct Match {
    start: usize,
    end: usize,
    content: Content,
}

/// What was matched.
enum Content {
    /// A plain number, its digits cleaned.
    Number { text: String, percent: bool },
    /// An expression of digits and operators.
    Expression(String),
    /// One or more formulas.
    Latex(Vec<latex::Formula>),
}

impl Content {
    /// The value, if it can be read, and the match as text.
    fn read(self) -> (Option<Reading>, String) {
        match self {
            Self::Number { text, percent } => {
                let sign = if percent { "%" } else { "" };
                (reft_math::read(&format!("{text}{sign}")), text)
            }
            Self::Expression(text) => (expression::read(&text), text),
            Self::Latex(formulas) => latex::read(&formulas),
        }
    }
}

/// Steps that are left.
struct Steps(usize);

struct OutOfSteps;

impl Steps {
    fn spend(&mut self, steps: usize) -> Result<(), OutOfSteps> {
        self.0 = self.0.checked_sub(steps).ok_or(OutOfSteps)?;
        Ok(())
    }
}

/// Whether `word` stands at `at`, in any case.
fn starts_with_word(text: &[char], at: usize, word: &str) -> bool {
    let mut rest = text[at.min(text.len())..].iter();
    word.chars().all(|expected| rest.next().is_some_and(|c| c.eq_ignore_ascii_case(&expected)))
}

/// Whether `piece` stands at `at`, exactly.
fn starts_with(text: &[char], at: usize, piece: &str) -> bool {
    let mut rest = text[at.min(text.len())..].iter();
    piece.chars().all(|expected| rest.next() == Some(&expected))
}

/// Where the white space that starts at `at` ends.
fn after_space(text: &[char], at: usize) -> usize {
    let space = text[at..].iter().take_while(|&&c| super::python::is_space(c)).count();
    at + space
}

/// `\.?\s?I hope` at `at`.
fn i_hope(text: &[char], at: usize) -> bool {
    let dots: &[usize] = if text.get(at) == Some(&'.') { &[1, 0] } else { &[0] };
    dots.iter().any(|dot| {
        let at = at + dot;
        let spaced = text.get(at).is_some_and(|&c| super::python::is_space(c));
        (spaced && starts_with(text, at + 1, "I hope")) || starts_with(text, at, "I hope")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_math_verify() {
        let same = [
            ("<answer> 5 </answer>", "<answer> 5.0 </answer>"),
            ("<answer> 50% </answer>", "<answer> 0.5 </answer>"),
            ("<answer> 50% </answer>", "50"),
            ("so it is 12 apples", "12 pears"),
            ("$2\\sqrt{3}$", "$\\sqrt{12}$"),
            ("<think>t</think>\\boxed{5}", "5"),
            ("answer: 3, no 4", "3"),
            ("the final answer is 7. I hope it is. answer 8", "7"),
            ("1,234 apples", "1234"),
            ("=5", "5"),
            ("1/2", "0.5"),
            ("$1$, $2$ and $3$", "$\\{3,2,1\\}$"),
        ];
        for (a, b) in same {
            assert_eq!(Symbolic::On.same(a, b), Ok(true), "{a} | {b}");
        }
        let different = [
            ("<answer>5</answer>", "<answer>5</answer>"),
            ("five", "five"),
            ("", ""),
            ("XDY2K", "2"),
            ("(5)", "5"),
            ("5 or 6", "5"),
        ];
        for (a, b) in different {
            assert_eq!(Symbolic::On.same(a, b), Ok(false), "{a} | {b}");
        }
        assert_eq!(Symbolic::Raises.same("5", "5"), Err(Raised));
    }

    #[test]
    fn noise_is_bounded() {
        for noise in [
            "1 ",
            "1",
            "1２",
            "1+",
            "answer ",
            "$ ",
            "\\boxed{",
            "answer 1+",
            "\\[ ",
            " [",
            "$$a$$,",
            "(1",
            "cat ",
        ] {
            let text = noise.repeat(40_000 / noise.len());
            let start = std::time::Instant::now();
            Found::in_text(&text);
            let took = start.elapsed();
            // Unoptimised builds on a busy machine included; without a bound it would be minutes.
            assert!(took.as_secs() < 5, "{noise}: {took:?}");
        }
    }
}
