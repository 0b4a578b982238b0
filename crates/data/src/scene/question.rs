//! What is asked about a scene, the right answer, and how to get there from the digits read.
//!
//! Wordings are fixed and few: a model of a million parameters has to learn them all.

use rand::{Rng, seq::IndexedRandom as _};

use super::{Check, Placed, ShapeQuestion};

/// A question about a scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where a label is that occurs exactly once.
    Where {
        /// Position in reading order among the placed glyphs.
        target: usize,
    },
    /// Which labels occur.
    Which,
    /// Read and compute.
    Math(Operation),
    /// In which cells some labels are that occur once each.
    Cells {
        /// Positions in reading order among the placed glyphs, in the order of the question.
        targets: Vec<usize>,
    },
    /// Whether things are the same or there.
    Check(Check),
    /// About a coloured shape.
    Shape(ShapeQuestion),
    /// All labels in reading order.
    ReadAll,
    /// All labels with their cells, by label.
    ListAll,
}

/// What to compute from the numbers of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sum of all.
    Sum,
    /// Largest minus smallest.
    Difference,
    /// How many there are.
    Count,
    /// How many exceed a bound.
    Greater(i64),
    /// Sum of the two largest. Never asked in-domain.
    SumOfLargest,
    /// Product of the two smallest. Never asked in-domain.
    ProductOfSmallest,
    /// How many are below a bound. Never asked in-domain.
    Smaller(i64),
}

impl Operation {
    /// An operation of training: sums and differences more often, as their answers are harder to guess.
    pub(super) fn usual(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..10) {
            0..4 => Self::Sum,
            4..7 => Self::Difference,
            7..8 => Self::Count,
            _ => Self::Greater(rng.random_range(2..=6)),
        }
    }

    /// An operation that training never asks for.
    pub(super) fn unseen(rng: &mut impl Rng) -> Self {
        let bound = rng.random_range(3..=7);
        *[Self::SumOfLargest, Self::ProductOfSmallest, Self::Smaller(bound)]
            .choose(rng)
            .unwrap_or(&Self::SumOfLargest)
    }

    /// The result. `numbers` holds at least two.
    pub fn result(self, numbers: &[i64]) -> i64 {
        let sorted = sorted(numbers);
        let last = sorted.len() - 1;
        match self {
            Self::Sum => sorted.iter().sum(),
            Self::Difference => sorted[last] - sorted[0],
            Self::Count => sorted.len() as i64,
            Self::Greater(bound) => sorted.iter().filter(|&&n| n > bound).count() as i64,
            Self::SumOfLargest => sorted[last] + sorted[last - 1],
            Self::ProductOfSmallest => sorted[0] * sorted[1],
            Self::Smaller(bound) => sorted.iter().filter(|&&n| n < bound).count() as i64,
        }
    }

    /// The computation in short, one step of two numbers at a time: `3 + 7 = 10, 10 + 2 = 12`.
    pub(crate) fn derivation(self, numbers: &[i64]) -> String {
        let sorted = sorted(numbers);
        let last = sorted.len() - 1;
        let list = |keep: &dyn Fn(i64) -> bool| {
            let kept: Vec<String> = numbers.iter().filter(|&&n| keep(n)).map(ToString::to_string).collect();
            if kept.is_empty() { "none".to_owned() } else { kept.join(" ") }
        };
        match self {
            Self::Sum => {
                let mut total = numbers[0];
                let steps: Vec<String> = numbers[1..]
                    .iter()
                    .map(|n| {
                        let before = total;
                        total += n;
                        format!("{before} + {n} = {total}")
                    })
                    .collect();
                steps.join(", ")
            }
            Self::Difference => format!("{} - {} = {}", sorted[last], sorted[0], sorted[last] - sorted[0]),
            Self::Count => format!("{} digits", numbers.len()),
            Self::Greater(bound) => format!("greater: {}", list(&|n| n > bound)),
            Self::SumOfLargest => {
                format!("{} + {} = {}", sorted[last], sorted[last - 1], sorted[last] + sorted[last - 1])
            }
            Self::ProductOfSmallest => {
                format!("{} x {} = {}", sorted[0], sorted[1], sorted[0] * sorted[1])
            }
            Self::Smaller(bound) => format!("smaller: {}", list(&|n| n < bound)),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Sum => "What is the sum of all digits?".into(),
            Self::Difference => "What is the largest minus the smallest digit?".into(),
            Self::Count => "How many digits are there?".into(),
            Self::Greater(bound) => format!("How many digits are greater than {bound}?"),
            Self::SumOfLargest => "What is the sum of the two largest digits?".into(),
            Self::ProductOfSmallest => "What is the product of the two smallest digits?".into(),
            Self::Smaller(bound) => format!("How many digits are smaller than {bound}?"),
        }
    }
}

impl Question {
    /// The wording. `noun` names the glyphs: `digits`.
    pub fn text(&self, placed: &[Placed], noun: &str) -> String {
        match self {
            Self::Where { target } => format!("Where is the {}?", placed[*target].label),
            Self::Which => format!("Which {noun} are there?"),
            Self::Math(operation) => operation.text(),
            Self::Cells { targets } => {
                let labels: Vec<&str> = targets.iter().map(|&i| &*placed[i].label).collect();
                format!("Which cells hold {}?", labels.join(", "))
            }
            Self::Check(check) => check.text(placed),
            Self::Shape(shape) => shape.text(),
            Self::ReadAll => format!("Read all {noun} in order."),
            Self::ListAll => format!("List all {noun} by value."),
        }
    }

    /// The right answer, as [`reft_core::Sample::solution`] holds it.
    pub fn answer(&self, placed: &[Placed]) -> String {
        match self {
            Self::Where { target } => {
                let [x1, y1, x2, y2] = placed[*target].corners();
                format!("{{\"bbox_2d\": [{x1}, {y1}, {x2}, {y2}]}}")
            }
            Self::Which => {
                let mut labels: Vec<&str> = placed.iter().map(|p| &*p.label).collect();
                labels.sort_unstable();
                labels.dedup();
                labels.join(", ")
            }
            Self::Math(operation) => operation.result(&numbers(placed)).to_string(),
            Self::Cells { targets } => {
                let cells: Vec<String> = targets.iter().map(|&i| placed[i].cell.to_string()).collect();
                cells.join(", ")
            }
            Self::Check(check) => check.answer(placed),
            Self::Shape(shape) => shape.answer(),
            Self::ReadAll => {
                let labels: Vec<&str> = placed.iter().map(|p| &*p.label).collect();
                labels.join(" ")
            }
            Self::ListAll => {
                let mut sorted: Vec<&Placed> = placed.iter().collect();
                sorted.sort_unstable_by(|a, b| a.label.cmp(&b.label));
                reading(sorted)
            }
        }
    }
}

/// What stands where, each label beside its cell: `3e 7k`. Neighbours are what a small model can look up.
pub(super) fn reading<'a>(placed: impl IntoIterator<Item = &'a Placed>) -> String {
    let beside = |placed: &Placed| {
        let is_word = placed.label.ends_with(char::is_alphabetic);
        format!("{}{}{}", placed.label, if is_word { " " } else { "" }, placed.cell)
    };
    let items: Vec<String> = placed.into_iter().map(beside).collect();
    items.join(" ")
}

/// A label that was looked for, and its cell: `7 k`.
pub(super) fn found(placed: &Placed) -> String {
    format!("{} {}", placed.label, placed.cell)
}

/// What a claim looks like where it stands beside nothing.
const NONE: &str = "none";

/// Whether a label is there, from looking it up: `7 k? yes`, `3 none? no`.
pub(super) fn looked_up(label: &str, placed: &[Placed]) -> String {
    let there = placed.iter().find(|placed| &*placed.label == label);
    let cell = there.map_or_else(|| NONE.to_owned(), |placed| placed.cell.to_string());
    format!("{label} {cell}? {}", yes_no(there.is_some()))
}

/// Claims beside what was found, up to the first that differs, and whether all are the same: `e = e k = o? no`.
///
/// Two words beside each other, each one token, are the comparison that a fresh network learns soonest (docs/RESULTS.md).
pub(super) fn compared<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut words = Vec::new();
    let mut is_same = true;
    for (claim, found) in pairs {
        words.push(format!("{claim} = {found}"));
        is_same = claim == found;
        if !is_same {
            break;
        }
    }
    format!("{}? {}", words.join(" "), yes_no(is_same))
}

/// [`compared`] of lists that may differ in length.
pub(super) fn compared_lists(claims: &[impl AsRef<str>], found: &[impl AsRef<str>]) -> String {
    let n = claims.len().max(found.len());
    let claims = claims.iter().map(AsRef::as_ref).chain(std::iter::repeat(NONE));
    let found = found.iter().map(AsRef::as_ref).chain(std::iter::repeat(NONE));
    compared(claims.zip(found).take(n))
}

fn yes_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

/// A whole number in words, `seventeen`; in digits where it is below 0 or above 99. A word is one token, where a
/// number has one for each digit.
pub(super) fn in_words(number: i64) -> String {
    const UNITS: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    match usize::try_from(number) {
        Ok(number @ 0..20) => UNITS[number].to_owned(),
        Ok(number @ 20..100) if number.is_multiple_of(10) => TENS[number / 10 - 2].to_owned(),
        Ok(number @ 20..100) => format!("{}-{}", TENS[number / 10 - 2], UNITS[number % 10]),
        _ => number.to_string(),
    }
}

/// The labels as numbers. The scene set has checked that mathematics is asked about numbers only.
pub(super) fn numbers(placed: &[Placed]) -> Vec<i64> {
    placed.iter().filter_map(|p| p.label.parse().ok()).collect()
}

fn sorted(numbers: &[i64]) -> Vec<i64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        let cases = [(0, "zero"), (19, "nineteen"), (20, "twenty"), (36, "thirty-six"), (99, "ninety-nine")];
        for (number, words) in cases.into_iter().chain([(100, "100"), (-1, "-1")]) {
            assert_eq!(in_words(number), words);
        }
    }

    #[test]
    fn operations_by_hand() {
        let cases: [(Operation, &[i64], i64, &str); 9] = [
            (Operation::Sum, &[3, 7], 10, "3 + 7 = 10"),
            (Operation::Sum, &[3, 7, 2], 12, "3 + 7 = 10, 10 + 2 = 12"),
            (Operation::Difference, &[3, 9, 4], 6, "9 - 3 = 6"),
            (Operation::Count, &[1, 1, 1], 3, "3 digits"),
            (Operation::Greater(4), &[4, 5, 9], 2, "greater: 5 9"),
            (Operation::Greater(6), &[1, 2], 0, "greater: none"),
            (Operation::SumOfLargest, &[8, 1, 9, 8], 17, "9 + 8 = 17"),
            (Operation::ProductOfSmallest, &[8, 2, 3, 9], 6, "2 x 3 = 6"),
            (Operation::Smaller(3), &[3, 2, 0], 2, "smaller: 2 0"),
        ];
        for (operation, numbers, result, derivation) in cases {
            assert_eq!(operation.result(numbers), result, "{operation:?}");
            assert_eq!(operation.derivation(numbers), derivation, "{operation:?}");
        }
    }
}
