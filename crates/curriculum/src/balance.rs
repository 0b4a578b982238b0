//! An order of the pool in which every stretch mirrors the whole.
//!
//! Samples are shuffled within their kind (form, task, and the answer of binary samples), then the kinds are
//! interleaved so that in any stretch each has its share of the pool, give or take one sample. Every sample comes
//! exactly once, so a batch is as balanced as the pool is.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use reft_core::{Form, Sample, Seed, Task};

/// Indices into `pool`, each once, for one epoch.
pub(crate) fn order<S: AsRef<Sample>>(pool: &[S], seed: Seed) -> Vec<usize> {
    let mut kinds: BTreeMap<(Form, Task), BTreeMap<Answer, Vec<usize>>> = BTreeMap::new();
    for (index, sample) in pool.iter().enumerate() {
        let sample = sample.as_ref();
        let kind = kinds.entry((sample.form, sample.task)).or_default();
        kind.entry(Answer::of(sample)).or_default().push(index);
    }
    // Every other kind starts with the other answer, so that yes and no also alternate across tasks.
    let mut flip = seed.at("flip").uniform() < 0.5;
    let mut sequences = Vec::with_capacity(kinds.len());
    for ((form, task), answers) in kinds {
        let seed = seed.at(form.as_str()).at(task.as_str());
        let mut leaves: Vec<Vec<usize>> = answers
            .into_iter()
            .map(|(answer, mut indices)| {
                indices.shuffle(&mut seed.at(answer as u64).rng());
                indices
            })
            .collect();
        if flip {
            leaves.reverse();
        }
        flip = !flip;
        sequences.push(interleave(leaves));
    }
    interleave(sequences)
}

/// Yes and no are balanced; the answers of other forms are not looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Yes,
    No,
    Other,
}

impl Answer {
    fn of(sample: &Sample) -> Self {
        let solution = sample.solution.trim();
        match sample.form {
            Form::Binary if solution.eq_ignore_ascii_case("yes") => Self::Yes,
            Form::Binary if solution.eq_ignore_ascii_case("no") => Self::No,
            Form::Binary | Form::Choice | Form::Open => Self::Other,
        }
    }
}

/// Merges sequences evenly: the `j`-th of `m` stands at `(2 j + 1) / 2 m` of the way.
fn interleave(sequences: Vec<Vec<usize>>) -> Vec<usize> {
    let mut placed: Vec<(u64, u64, usize, usize)> = Vec::new();
    for (rank, sequence) in sequences.into_iter().enumerate() {
        let total = 2 * sequence.len() as u64;
        placed.extend(
            sequence.into_iter().enumerate().map(|(j, index)| (2 * j as u64 + 1, total, rank, index)),
        );
    }
    // Fractions are compared by cross-multiplication: no rounding, so no dependence on the machine.
    placed.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
    placed.into_iter().map(|(_, _, _, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaving_is_even() {
        assert_eq!(interleave(vec![vec![0, 1, 2, 3], vec![10, 11]]), vec![0, 10, 1, 2, 11, 3]);
        assert_eq!(interleave(vec![vec![0, 1], vec![10, 11]]), vec![0, 10, 1, 11]);
        assert_eq!(interleave(vec![]), Vec::<usize>::new());
    }
}
