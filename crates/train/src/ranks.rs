//! An update that several ranks share: each passes some micro-batches with the weights of the whole batch, and gradients
//! and numbers are added. With one rank nothing here does anything.

use reft_core::{StageError, parts};
use reft_dist::{DistError, Group, Op};
use tch::Tensor;

pub(crate) fn failed(error: DistError) -> StageError {
    StageError::other("ranks", error)
}

/// The most tokens of a micro-batch, of `budget` (0: no limit) and of a batch of `tokens`, so that there is one for each rank.
pub fn shared_budget(budget: usize, tokens: usize, ranks: usize) -> usize {
    let share = tokens.div_ceil(ranks.max(1));
    match (ranks, budget) {
        (0 | 1, _) => budget,
        (_, 0) => share,
        _ => budget.min(share),
    }
}

/// By micro-batch, whether this rank passes it. `costs`: what each costs, its tokens.
pub fn own_passes(group: &Group, costs: &[usize]) -> Vec<bool> {
    if group.is_alone() {
        return vec![true; costs.len()];
    }
    let costs: Vec<u64> = costs.iter().map(|&cost| cost as u64).collect();
    let mut own = vec![false; costs.len()];
    for &pass in &parts(&costs, group.size())[group.rank()] {
        own[pass] = true;
    }
    own
}

/// Numbers added, or the largest, over all ranks.
pub fn reduce<const N: usize>(group: &Group, mut numbers: [f64; N], op: Op) -> Result<[f64; N], StageError> {
    if !group.is_alone() {
        let all = Tensor::from_slice(&numbers);
        group.all_reduce(&all, op).map_err(failed)?;
        all.copy_data(&mut numbers, N);
    }
    Ok(numbers)
}

/// The sum of a tensor over all ranks takes its place.
pub fn sum(group: &Group, x: &Tensor) -> Result<(), StageError> {
    group.all_reduce(x, Op::Sum).map_err(failed)
}
