//! One update by several ranks: each passes some of the micro-batches with the weights of the whole batch, and gradients
//! and numbers are added. With one rank nothing here does anything.

use reft_core::{StageError, parts};
use reft_dist::{DistError, Group, Op};
use reft_vlm::Vlm;
use tch::{Kind, Tensor, no_grad};

use crate::{batch::MicroBatch, sums::Sums};

/// Who passes which micro-batch of a batch.
pub(crate) struct Ranks<'a> {
    group: &'a Group,
    /// By micro-batch.
    own: Vec<bool>,
    /// Completion tokens of each micro-batch.
    tokens: Vec<i64>,
}

fn failed(error: DistError) -> StageError {
    StageError::other("ranks", error)
}

impl<'a> Ranks<'a> {
    pub(crate) fn new(group: &'a Group, batches: &[MicroBatch]) -> Self {
        let costs: Vec<u64> = batches.iter().map(|batch| batch.cost() as u64).collect();
        let mut own = vec![group.is_alone(); batches.len()];
        if !group.is_alone() {
            parts(&costs, group.size())[group.rank()].iter().for_each(|&pass| own[pass] = true);
        }
        Self { group, own, tokens: batches.iter().map(|batch| batch.lengths.iter().sum()).collect() }
    }

    /// Whether this rank passes a micro-batch.
    pub(crate) fn is_own(&self, pass: usize) -> bool {
        self.own[pass]
    }

    /// For each micro-batch the `[c]` numbers of the rank that passes it; `of` is asked for one's own.
    pub(crate) fn gather(
        &self,
        batches: &[MicroBatch],
        of: impl Fn(usize, &MicroBatch) -> Tensor,
    ) -> Result<Vec<Tensor>, StageError> {
        let numbers = |(pass, batch): (usize, &MicroBatch)| {
            if self.own[pass] { of(pass, batch) } else { batch.rollout_c.zeros_like() }
        };
        let numbers: Vec<Tensor> = batches.iter().enumerate().map(numbers).collect();
        if self.group.is_alone() || numbers.is_empty() {
            return Ok(numbers);
        }
        let all_c = Tensor::cat(&numbers, 0);
        self.group.all_reduce(&all_c, Op::Sum).map_err(failed)?;
        Ok(all_c.split_with_sizes(&self.tokens, 0))
    }

    /// Adds what the ranks have summed.
    pub(crate) fn sum(&self, sums: Sums) -> Result<Sums, StageError> {
        if self.group.is_alone() {
            return Ok(sums);
        }
        let (added, largest) = sums.numbers();
        Ok(Sums::from_numbers(self.reduce(added, Op::Sum)?, self.reduce(largest, Op::Max)?))
    }

    fn reduce<const N: usize>(&self, mut numbers: [f64; N], op: Op) -> Result<[f64; N], StageError> {
        let all = Tensor::from_slice(&numbers);
        self.group.all_reduce(&all, op).map_err(failed)?;
        all.copy_data(&mut numbers, N);
        Ok(numbers)
    }

    /// The gradients that have accumulated become the sums over all ranks, in fp32 whatever the weights are in.
    pub(crate) fn sum_gradients(&self, policy: &Vlm) -> Result<(), StageError> {
        if self.group.is_alone() {
            return Ok(());
        }
        no_grad(|| {
            for key in policy.learned().buffers().keys() {
                let Some(mut gradient) = policy.learned().flat_grad(*key) else { continue };
                let sum = gradient.to_kind(Kind::Float);
                self.group.all_reduce(&sum, Op::Sum).map_err(failed)?;
                if gradient.kind() != Kind::Float {
                    gradient.copy_(&sum);
                }
            }
            Ok(())
        })
    }
}
