//! What a layer without attention remembers of the groups that are being answered.
//!
//! A prompt's state is there once. A completion gets its own with its first token, a copy of its prompt's that has gone on
//! by that token; completions that end with the token drawn from the prompt never have one.

use reft_kernels::KvPlan;
use reft_vlm::model::{DeltaInputs, DeltaMemory, DeltaState};
use tch::{Kind, Tensor};

use super::occupancy::Occupancy;

/// One layer. Memory is taken when the first prompt comes, for as many groups as were planned.
pub(super) struct StateLayer {
    groups: i64,
    group_size: i64,
    /// `[n, ..]` of prompts and `[m, ..]` of completions.
    states: Option<[DeltaState; 2]>,
}

impl StateLayer {
    pub(super) fn new(plan: &KvPlan) -> Self {
        Self { groups: plan.groups as i64, group_size: plan.group_size as i64, states: None }
    }

    /// The states behind prompts, in the order of their group slots.
    pub(super) fn fill(&mut self, group_slots: impl Iterator<Item = usize>, states: &DeltaState) {
        let slots: Vec<i64> = group_slots.map(|slot| slot as i64).collect();
        let [prompts, _] = self.states.get_or_insert_with(|| {
            let zeros = |n: i64| {
                let like = |x: &Tensor| {
                    let mut size = x.size();
                    size[0] = n;
                    Tensor::zeros(size, (x.kind(), x.device()))
                };
                DeltaState { conv: like(&states.conv), recurrent: like(&states.recurrent) }
            };
            [zeros(self.groups), zeros(self.groups * self.group_size)]
        });
        write(prompts, &Tensor::from_slice(&slots).to_device(states.conv.device()), states);
    }

    /// The newest token of each of the slots that take part: outputs `[r, h, d]`.
    pub(super) fn step(&mut self, taken: &Occupancy, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor {
        let Some([prompts, own]) = &mut self.states else { unreachable!("a prompt came before") };
        let device = inputs.mixed.device();
        let index = |slots: &[i64]| Tensor::from_slice(slots).to_device(device);
        let (mut begun, mut of_begun) = (Vec::new(), Vec::new());
        for &slot in &taken.slots {
            if taken.own_lengths[slot] == 1 {
                begun.push(slot as i64);
                of_begun.push((slot / taken.group_size) as i64);
            }
        }
        if !begun.is_empty() {
            write(own, &index(&begun), &prompts.select(&index(&of_begun)));
        }
        memory.step(inputs, own, &taken.slots)
    }
}

/// Overwrites the states of some sequences.
fn write(states: &mut DeltaState, at: &Tensor, new: &DeltaState) {
    debug_assert_eq!(new.recurrent.kind(), Kind::Float, "states are fp32");
    let _ = states.conv.index_copy_(0, at, &new.conv);
    let _ = states.recurrent.index_copy_(0, at, &new.recurrent);
}
