//! Several processes, ranks, that work on one run.

use std::time::Duration;

use crate::StageError;

/// The ranks of a run. All of them call the same methods in the same order.
pub trait Peers: Send + Sync {
    /// Which this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The time that this rank has spent waiting for the others, and sending, since it met them.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// What every rank has to say, by rank. Where one has failed, everyone gets an error that names it.
    fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, StageError>;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, own: Result<Vec<u8>, String>) -> Result<Vec<Vec<u8>>, StageError> {
        own.map(|own| vec![own]).map_err(|message| StageError::other("rank 0", message))
    }
}

/// The indices of the items that each of some ranks works on, ascending. The most expensive go first, each to the rank that
/// has least to do.
pub fn parts(costs: &[u64], ranks: usize) -> Vec<Vec<usize>> {
    let mut by_cost: Vec<usize> = (0..costs.len()).collect();
    by_cost.sort_by_key(|&index| std::cmp::Reverse(costs[index]));
    let mut parts = vec![(0_u64, Vec::new()); ranks.max(1)];
    for index in by_cost {
        let least = (0..ranks).min_by_key(|&rank| parts[rank].0).unwrap_or(0);
        let (cost, part) = &mut parts[least];
        *cost += costs[index].max(1);
        part.push(index);
    }
    parts
        .into_iter()
        .map(|(_, mut part)| {
            part.sort_unstable();
            part
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_to_the_rank_that_has_least() {
        assert_eq!(parts(&[5, 1, 1, 1, 1, 1], 2), [vec![0], vec![1, 2, 3, 4, 5]]);
        assert_eq!(parts(&[1, 2, 3], 4), [vec![2], vec![1], vec![0], vec![]]);
        // What costs nothing still is work.
        assert_eq!(parts(&[0, 0, 0, 0], 2), [vec![0, 2], vec![1, 3]]);
    }
}
