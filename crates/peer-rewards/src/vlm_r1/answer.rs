//! Free answers: the default reward, mathematics, yes and no, equality.

use super::{
    super::{
        PeerRow, Raises, Symbolic,
        python::{digit, float, strip},
        tags::{Span, first_answer, last_answer},
    },
    choice::choice,
    clean,
    equivalent::equivalent,
};

/// Pays 1 when the symbolic step agrees, or both numbers are equal, or both choices; else how similar the texts are.
///
/// What it gets wrong: similarity pays for wrong answers (`The area is 42` earns most of `The area is 24`), and
/// `Boeing 737-200` is the number 537.
pub(in super::super) fn default(row: &PeerRow<'_>, symbolic: Symbolic) -> f64 {
    let solution = strip(first_answer(row.solution, Span::Line).unwrap_or(row.solution));
    let answer = strip(last_answer(row.completion).unwrap_or(row.completion));
    if symbolic.same(answer, solution).unwrap_or(false) {
        return 1.0;
    }
    let (given, right) = (clean(answer), clean(solution));
    if solution.contains(|c| digit(c).is_some()) {
        return match (float(&given), float(&right)) {
            (Some(given), Some(right)) => f64::from(given == right),
            _ => similarity(&given, &right),
        };
    }
    match choice(solution) {
        Some(right) => f64::from(choice(answer) == Some(right)),
        None => similarity(&given, &right),
    }
}

/// Pays 1 for the same cleaned text, else 0.
///
/// What it gets wrong: `5.0` is not `5`, `(B)` not `B`.
pub(in super::super) fn all_match(row: &PeerRow<'_>) -> f64 {
    f64::from(clean(row.completion) == clean(row.solution))
}

/// Pays 1 when both texts hold the same first `yes` or `no`, or neither, else 0.
///
/// What it gets wrong: the words count inside others, so `know`, `cannot` and `unknown` are no and `yesterday` is yes;
/// any two answers without them are equal.
pub(in super::super) fn yes_no(row: &PeerRow<'_>) -> f64 {
    let said = |text: &str, span| {
        let lower = text.to_lowercase();
        let answer = first_answer(&lower, span).unwrap_or(&lower);
        match (answer.find("yes"), answer.find("no")) {
            (Some(yes), no) => Some(no.is_none_or(|no| yes < no)),
            (None, no) => no.map(|_| false),
        }
    };
    f64::from(said(row.solution, Span::Line) == said(row.completion, Span::Lines))
}

/// Pays 1 for the same text, or where the symbolic step agrees, or for the same normal form, else 0.
///
/// What it gets wrong: texts are lower-cased before they are read, which breaks commands such as `\Delta` and numbers
/// such as `1E3`, and the symbolic step ignores everything around a number: 12 apples are 12 pears.
pub(in super::super) fn math(row: &PeerRow<'_>, symbolic: Symbolic) -> Result<f64, Raises> {
    let (given, right) = (clean(row.completion), clean(row.solution));
    let same = given == right
        || symbolic.same(&given, &right).map_err(|_| Raises::Row("the symbolic step raises"))?
        || equivalent(&given, &right);
    Ok(f64::from(same))
}

/// Levenshtein's `ratio`: `1 - d / (n + m)` with d the insertions and deletions that make two texts equal.
fn similarity(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let total = a.len() + b.len();
    if total == 0 {
        return 1.0;
    }
    // The longest common subsequence, row by row.
    let mut common = vec![0_usize; b.len() + 1];
    for x in &a {
        let mut diagonal = 0;
        for (i, y) in b.iter().enumerate() {
            let above = common[i + 1];
            common[i + 1] = if x == y { diagonal + 1 } else { above.max(common[i]) };
            diagonal = above;
        }
    }
    1.0 - (total - 2 * common[b.len()]) as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_by_hand() {
        assert_eq!(similarity("cat", "cat"), 1.0);
        assert_eq!(similarity("cat", ""), 0.0);
        // `half` and `calf` share `alf`: one deletion and one insertion of eight characters.
        assert_eq!(similarity("half", "calf"), 0.75);
    }
}
