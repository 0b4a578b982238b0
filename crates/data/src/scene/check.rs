//! Drills in comparing: several things are checked, and the answer has the verdict beside each.
//!
//! Comparing is what answers to the easier forms are made of, where a verdict is one token in forty; here it is one in
//! six. docs/RESULTS.md says why a small network has to learn it first.

use std::sync::Arc;

use rand::{
    Rng,
    seq::{IndexedRandom as _, SliceRandom as _, index},
};

use super::{
    Cell, Placed,
    question::{compared, compared_lists, found, in_words, looked_up},
};

/// Labels to be checked about a scene.
const LABELS: usize = 6;

/// Cells to be checked about one label, and words about given ones.
const CLAIMS: usize = 4;

/// Digits that are given at most, as a question about classes has several.
const DIGITS: usize = 3;

/// Numbers below this are given in words: sums of four digits.
const NUMBERS: i64 = 37;

/// What is to be checked about a scene of labels that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Which of some labels are there; about half are.
    Labels(Vec<Arc<str>>),
    /// In which of some cells a label stands. One is right in three of four questions.
    Cells {
        /// Position of the label in reading order among the placed glyphs.
        target: usize,
        /// The cells in the order of the question.
        cells: Vec<Cell>,
    },
    /// Which of some words are the same as given ones; about half are. The picture has nothing to do with it.
    Words {
        /// The given words: a number, or up to three digits.
        given: Vec<String>,
        /// As many words each.
        claims: Vec<Vec<String>>,
    },
}

impl Check {
    /// One of the three kinds. `labels` are all that there are.
    pub(super) fn draw(placed: &[Placed], labels: &[Arc<str>], rng: &mut impl Rng) -> Self {
        match rng.random_range(0..3) {
            0 => Self::draw_labels(placed, labels, rng),
            1 => Self::draw_cells(placed, rng),
            _ => Self::draw_words(rng),
        }
    }

    fn draw_labels(placed: &[Placed], labels: &[Arc<str>], rng: &mut impl Rng) -> Self {
        let absent: Vec<&Arc<str>> =
            labels.iter().filter(|label| placed.iter().all(|p| p.label != **label)).collect();
        let label = |_| match absent.choose(rng).filter(|_| rng.random()) {
            Some(label) => Arc::clone(label),
            None => Arc::clone(&placed[rng.random_range(0..placed.len())].label),
        };
        Self::Labels((0..LABELS).map(label).collect())
    }

    fn draw_cells(placed: &[Placed], rng: &mut impl Rng) -> Self {
        let among = index::sample(rng, placed.len(), placed.len().min(CLAIMS + 1)).into_vec();
        let target = among[0];
        let shown = among.into_iter().skip(usize::from(rng.random_bool(0.25))).take(CLAIMS);
        let mut cells: Vec<Cell> = shown.map(|i| placed[i].cell).collect();
        cells.shuffle(rng);
        Self::Cells { target, cells }
    }

    fn draw_words(rng: &mut impl Rng) -> Self {
        let is_number: bool = rng.random();
        let n = if is_number { 1 } else { rng.random_range(1..=DIGITS) };
        let word = |rng: &mut _| -> String {
            if is_number {
                in_words(Rng::random_range(rng, 0..NUMBERS))
            } else {
                Rng::random_range(rng, 0..10).to_string()
            }
        };
        let given: Vec<String> = (0..n).map(|_| word(rng)).collect();
        let claims = (0..CLAIMS).map(|_| {
            let mut claim = given.clone();
            if rng.random() {
                let i = rng.random_range(0..n);
                while claim[i] == given[i] {
                    claim[i] = word(rng);
                }
            }
            claim
        });
        Self::Words { claims: claims.collect(), given }
    }

    /// The wording: `Check 7, 1.`, `Check 7 at k, o.`, `Check ten: nine, ten.`
    pub(super) fn text(&self, placed: &[Placed]) -> String {
        match self {
            Self::Labels(labels) => format!("Check {}.", labels.join(", ")),
            Self::Cells { target, cells } => {
                let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
                format!("Check {} at {}.", placed[*target].label, cells.join(", "))
            }
            Self::Words { given, claims } => {
                let claims: Vec<String> = claims.iter().map(|claim| claim.join(" ")).collect();
                format!("Check {}: {}.", given.join(" "), claims.join(", "))
            }
        }
    }

    /// The verdicts: `7 o? yes, 1 none? no`, `7 o; k = o? no, o = o? yes`, `ten; nine = ten? no, ten = ten? yes`.
    pub(super) fn answer(&self, placed: &[Placed]) -> String {
        match self {
            Self::Labels(labels) => {
                let checked: Vec<String> = labels.iter().map(|label| looked_up(label, placed)).collect();
                checked.join(", ")
            }
            Self::Cells { target, cells } => {
                let cell = placed[*target].cell.to_string();
                let verdict = |claim: &Cell| compared([(&*claim.to_string(), &*cell)]);
                let checked: Vec<String> = cells.iter().map(verdict).collect();
                format!("{}; {}", found(&placed[*target]), checked.join(", "))
            }
            Self::Words { given, claims } => {
                let checked: Vec<String> = claims.iter().map(|claim| compared_lists(claim, given)).collect();
                format!("{}; {}", given.join(" "), checked.join(", "))
            }
        }
    }
}
