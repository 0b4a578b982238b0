//! What layers without attention remember of packed groups: each prompt once, and each of its completions from where its
//! prompt ends. Gradients of a prompt's state are so the sum over its completions.
//!
//! Linear layers never see padding. Only here are sequences laid side by side, zeros behind the end of the shorter ones.
//!
//! Axes in tensor names: t packed token, n sequence, l token of a sequence, h head, d width.

use tch::{Device, Tensor};

use super::{
    delta_net::{DeltaInputs, DeltaMemory, DeltaState},
    padded::GroupLengths,
};

/// The sequences of packed groups.
pub(super) struct PackedMemory {
    prompts: Sequences,
    /// None where there are no completions.
    completions: Option<Sequences>,
    /// `[n]` the prompt of each completion.
    owners: Tensor,
}

impl PackedMemory {
    pub(super) fn new(lengths: &GroupLengths<'_>, device: Device) -> Self {
        let owners: Vec<i64> = lengths.owners.iter().map(|&owner| owner as i64).collect();
        Self {
            prompts: Sequences::new(0, lengths.prompts, device),
            completions: (lengths.completions.iter().sum::<i64>() > 0)
                .then(|| Sequences::new(lengths.prompts.iter().sum(), lengths.completions, device)),
            owners: Tensor::from_slice(&owners).to_device(device),
        }
    }

    /// Outputs `[t, h, d]`, and what is remembered behind each prompt.
    pub(super) fn run(&self, memory: &DeltaMemory, inputs: &DeltaInputs) -> (Tensor, DeltaState) {
        let (of_prompts, states) = self.prompts.run(memory, inputs, None);
        let out = match &self.completions {
            None => of_prompts,
            Some(completions) => {
                let (of_completions, _) = completions.run(memory, inputs, Some(&states.select(&self.owners)));
                Tensor::cat(&[of_prompts, of_completions], 0)
            }
        };
        (out, states)
    }
}

/// Sequences that lie one after another.
struct Sequences {
    first: i64,
    total: i64,
    longest: i64,
    /// `[n]`.
    lengths: Tensor,
    /// `[n * longest]` the token at each position; where none is, the row of zeros behind the last.
    gather: Tensor,
    /// `[total]` the padded position of each token.
    scatter: Tensor,
}

impl Sequences {
    fn new(first: i64, lengths: &[i64], device: Device) -> Self {
        let (total, longest) = (lengths.iter().sum(), lengths.iter().copied().max().unwrap_or(0));
        let (mut gather, mut scatter, mut next) = (Vec::new(), Vec::new(), 0);
        for (n, &length) in lengths.iter().enumerate() {
            gather.extend((0..longest).map(|l| if l < length { next + l } else { total }));
            scatter.extend((0..length).map(|l| n as i64 * longest + l));
            next += length;
        }
        let on_device = |x: &[i64]| Tensor::from_slice(x).to_device(device);
        Self {
            first,
            total,
            longest,
            lengths: on_device(lengths),
            gather: on_device(&gather),
            scatter: on_device(&scatter),
        }
    }

    fn run(
        &self,
        memory: &DeltaMemory,
        inputs: &DeltaInputs,
        state: Option<&DeltaState>,
    ) -> (Tensor, DeltaState) {
        let side_by_side = |x: &Tensor| {
            let own = x.narrow(0, self.first, self.total);
            let zeros = Tensor::zeros([1, x.size()[1]], (x.kind(), x.device()));
            let rows = Tensor::cat(&[own, zeros], 0).index_select(0, &self.gather);
            rows.unflatten(0, [-1, self.longest])
        };
        let (out_nlhd, states) = memory.run(&inputs.map(side_by_side), &self.lengths, state);
        (out_nlhd.flatten(0, 1).index_select(0, &self.scatter), states)
    }
}
