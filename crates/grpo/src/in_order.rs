//! Gradients of micro-batches added in the order of the batch, whoever has passed which: with `exact = true`, N ranks have
//! the bits of one.

use std::collections::BTreeMap;

use reft_core::StageError;
use reft_dist::Group;
use reft_vlm::{Vlm, model::BufferKey};
use tch::{Tensor, no_grad};

/// Numbers that all ranks together send at a time.
const SENT: usize = 1 << 24;

/// Passes some micro-batches in rounds, one on each rank, and makes the sum of their gradients the policy's. `pass` adds the
/// gradient of one.
pub(crate) fn accumulate(
    group: &Group,
    policy: &mut Vlm,
    passes: &[usize],
    mut pass: impl FnMut(&Vlm, usize),
) -> Result<(), StageError> {
    let mut sums = InOrder::new(group, policy);
    for round in passes.chunks(group.size()) {
        if let Some(&own) = round.get(group.rank()) {
            pass(policy, own);
        }
        sums.add(policy, round.len())?;
    }
    sums.finish(policy);
    Ok(())
}

/// The sums so far, beside the gradients of one micro-batch that accumulate in the policy's own buffers.
struct InOrder<'a> {
    group: &'a Group,
    sums: BTreeMap<BufferKey, Tensor>,
}

impl<'a> InOrder<'a> {
    fn new(group: &'a Group, policy: &Vlm) -> Self {
        let store = policy.learned();
        let zeros = |&key: &BufferKey| Some((key, store.flat_grad(key)?.zeros_like()));
        Self { group, sums: store.buffers().keys().filter_map(zeros).collect() }
    }

    /// Adds what the first `passed` ranks have accumulated, in their order, which is forgotten in the policy.
    fn add(&mut self, policy: &mut Vlm, passed: usize) -> Result<(), StageError> {
        let _no_grad = tch::no_grad_guard();
        for (&key, sum) in &mut self.sums {
            let Some(gradient) = policy.learned().flat_grad(key) else { continue };
            let piece = (SENT / self.group.size()) as i64;
            for (own, sum) in gradient.split(piece, 0).iter().zip(sum.split(piece, 0)) {
                let all = self.group.all_gather(own).map_err(|error| StageError::other("ranks", error))?;
                for rank in 0..passed {
                    let _ = sum.shallow_clone().g_add_(&all.get(rank as i64));
                }
            }
        }
        policy.learned_mut().zero_grad();
        Ok(())
    }

    /// The sums become the policy's gradients.
    fn finish(self, policy: &Vlm) {
        for (key, sum) in self.sums {
            if let Some(mut gradient) = policy.learned().flat_grad(key) {
                no_grad(|| gradient.copy_(&sum));
            }
        }
    }
}
