//! Open to binary: is this the answer, yes or no?
//!
//! Samples are paired so that their answers differ, and both of a pair are shown the same answer: right for one, wrong
//! for the other. So every answer is shown as often with `yes` as with `no`.
//! Which of the two gets the `yes` is free, and is used to balance batches: samples that follow each other in the data
//! set get one `yes` and one `no`. Both demands are perfect matchings, their union has only even cycles, and so it can
//! always be coloured.

use rand::{Rng, seq::IndexedRandom as _};
use reft_core::{Sample, Seed, Task};

use super::{
    answer::Answer,
    grouping::{by_fit, by_value},
    pools::grouped,
    slip::slip,
};
/// What a sample is asked.
#[derive(Debug)]
pub(super) struct Statement {
    /// The answer that it is shown, as text.
    pub(super) shown: String,
    /// Whether it is the right one.
    pub(super) truth: bool,
}

/// One statement per sample of a task, in the given order; none where no wrong answer could be shown. Such a sample would
/// only ever be asked with a `yes`.
pub(super) fn statements(
    samples: &[&Sample],
    answers: &[Answer],
    rng: &mut impl Rng,
) -> Vec<Option<Statement>> {
    let mut partner: Vec<Option<usize>> = vec![None; samples.len()];
    let pairs = grouped(samples, 2, |pool| match samples[0].task {
        Task::Detection => by_fit(pool, answers, 2, &Answer::differs, rng),
        Task::Classification | Task::Math | Task::Vqa => by_value(pool, answers, 2, rng),
    });
    for group in pairs.groups {
        if let [a, b] = group[..] {
            (partner[a], partner[b]) = (Some(b), Some(a));
        }
    }

    let truths = colour(&partner, rng);
    (0..samples.len())
        .map(|i| {
            let shown = match (truths[i], partner[i]) {
                (true, _) => answers[i].clone(),
                (false, Some(partner)) => answers[partner].clone(),
                (false, None) => wrong_answer(i, answers, rng)?,
            };
            let could_be_wrong = partner[i].is_some() || !truths[i] || has_wrong_answer(i, answers);
            could_be_wrong.then(|| Statement { shown: shown.shown_in(samples[i]), truth: truths[i] })
        })
        .collect()
}

/// Gives one of every pair, and one of every two neighbours `2i` and `2i + 1`, the truth.
fn colour(partner: &[Option<usize>], rng: &mut impl Rng) -> Vec<bool> {
    let neighbour = |i: usize| Some(i ^ 1).filter(|&n| n < partner.len());
    let mut truths: Vec<Option<bool>> = vec![None; partner.len()];
    for start in 0..partner.len() {
        let mut open = vec![(start, rng.random())];
        while let Some((i, truth)) = open.pop() {
            if truths[i].is_some() {
                continue;
            }
            truths[i] = Some(truth);
            open.extend(partner[i].into_iter().chain(neighbour(i)).map(|n| (n, !truth)));
        }
    }
    truths.into_iter().map(Option::unwrap_or_default).collect()
}

/// For a sample without a partner: another sample's answer, or a slip.
fn wrong_answer(i: usize, answers: &[Answer], rng: &mut impl Rng) -> Option<Answer> {
    let others: Vec<&Answer> = answers.iter().filter(|a| a.differs(&answers[i])).collect();
    match others.choose(rng) {
        Some(other) => Some((*other).clone()),
        None => slip(&[&answers[i]], rng),
    }
}

/// Whether [`wrong_answer`] finds one, whatever is drawn.
fn has_wrong_answer(i: usize, answers: &[Answer]) -> bool {
    wrong_answer(i, answers, &mut Seed::new(0).rng()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn colouring_satisfies_pairs_and_neighbours(n in 1_usize..200, seed: u64) {
            // A random matching that leaves some without a partner.
            let mut rng = Seed::new(seed).rng();
            let mut order: Vec<usize> = (0..n).collect();
            rand::seq::SliceRandom::shuffle(&mut order[..], &mut rng);
            let mut partner = vec![None; n];
            for pair in order[..n - n / 5].chunks_exact(2) {
                (partner[pair[0]], partner[pair[1]]) = (Some(pair[1]), Some(pair[0]));
            }
            let truths = colour(&partner, &mut rng);
            for i in 0..n {
                if let Some(p) = partner[i] {
                    prop_assert_ne!(truths[i], truths[p]);
                }
                if i ^ 1 < n {
                    prop_assert_ne!(truths[i], truths[i ^ 1]);
                }
            }
        }
    }
}
