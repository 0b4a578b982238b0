//! The micro-batches of an update that several ranks share.

use reft_core::StageError;
use reft_dist::{Group, Op};
use reft_train::ranks;
use tch::Tensor;

use crate::{batch::MicroBatch, sums::Sums};

/// Who passes which micro-batch of a batch.
pub(crate) struct Ranks<'a> {
    group: &'a Group,
    /// By micro-batch.
    own: Vec<bool>,
    /// Completion tokens of each micro-batch.
    tokens: Vec<i64>,
}

impl<'a> Ranks<'a> {
    pub(crate) fn new(group: &'a Group, batches: &[MicroBatch]) -> Self {
        let costs: Vec<usize> = batches.iter().map(MicroBatch::cost).collect();
        let own = ranks::own_passes(group, &costs);
        Self { group, own, tokens: batches.iter().map(|batch| batch.lengths.iter().sum()).collect() }
    }

    /// In rounds: each rank passes one of as many micro-batches of a part as there are ranks, then one of the next.
    pub(crate) fn in_rounds(group: &'a Group, batches: &[MicroBatch], parts: &[Vec<usize>]) -> Self {
        let mut this = Self::new(group, batches);
        for part in parts {
            for (position, &pass) in part.iter().enumerate() {
                this.own[pass] = position % group.size() == group.rank();
            }
        }
        this
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
        ranks::sum(self.group, &all_c)?;
        Ok(all_c.split_with_sizes(&self.tokens, 0))
    }

    /// What the ranks have summed of each micro-batch, added in their order.
    pub(crate) fn sum_in_order(&self, all: &[Sums]) -> Result<Sums, StageError> {
        let mut merged = Sums::default();
        for (pass, sums) in all.iter().enumerate() {
            // The others add nothing to it.
            let own = if self.own[pass] { *sums } else { Sums::default() };
            merged.merge(&self.sum_one(own)?);
        }
        Ok(merged)
    }

    /// What the ranks have summed, added.
    pub(crate) fn sum(&self, all: &[Sums]) -> Result<Sums, StageError> {
        let mut merged = Sums::default();
        for sums in all {
            merged.merge(sums);
        }
        self.sum_one(merged)
    }

    fn sum_one(&self, sums: Sums) -> Result<Sums, StageError> {
        let (added, largest) = sums.numbers();
        let (added, largest) =
            (ranks::reduce(self.group, added, Op::Sum)?, ranks::reduce(self.group, largest, Op::Max)?);
        Ok(Sums::from_numbers(added, largest))
    }
}
