//! A layer's keys and values where the kernels read them: fp32 on the CPU.

use reft_kernels::{BLOCK, Heads, Own, Prompts, SharedPrefix, append, attend, fill};
use reft_vlm::model::inference::{kernel_threads, map, read};
use tch::Tensor;

use super::{KvPlan, Occupancy};

/// One layer. Zeroed memory that is never touched is never there, so a plan costs what is used of it.
pub(super) struct KernelLayer {
    /// `[n, k, l, d]` and `[n, k, d, l]`.
    prompts: [Vec<f32>; 2],
    /// `[m, blocks, k, d, BLOCK]` and `[m, blocks, k, BLOCK, d]`.
    own: [Vec<f32>; 2],
    places: usize,
    blocks: usize,
}

impl KernelLayer {
    pub(super) fn new(plan: &KvPlan, heads: Heads) -> Self {
        let (places, blocks) = (plan.prompt_tokens, plan.completion_tokens.div_ceil(BLOCK));
        let width = heads.kv * heads.d;
        let of_prompts = plan.groups * places * width;
        let of_completions = plan.groups * plan.group_size * blocks * BLOCK * width;
        Self {
            prompts: [vec![0.0; of_prompts], vec![0.0; of_prompts]],
            own: [vec![0.0; of_completions], vec![0.0; of_completions]],
            places,
            blocks,
        }
    }

    pub(super) fn fill(&mut self, taken: &Occupancy, place: usize, k_lkd: &Tensor, v_lkd: &Tensor) {
        let width = taken.heads.kv * taken.heads.d * self.places;
        let buffers = self.prompts.each_mut().map(|buffer| &mut buffer[place * width..(place + 1) * width]);
        let length = taken.prompt_lengths[place];
        read([k_lkd, v_lkd], |rows| fill(buffers, self.places, taken.heads, length, rows));
    }

    /// `[r, h * d]`.
    pub(super) fn attend(
        &mut self,
        taken: &Occupancy,
        q_rhd: &Tensor,
        k_rkd: &Tensor,
        v_rkd: &Tensor,
    ) -> Tensor {
        let &Occupancy { heads, group_size, .. } = taken;
        let buffers = self.own.each_mut().map(Vec::as_mut_slice);
        read([k_rkd, v_rkd], |rows| {
            append(buffers, self.blocks, heads, &taken.slots, &taken.own_lengths, rows);
        });
        let ([keys, values], [own_keys, own_values]) = (&self.prompts, &self.own);
        let step = SharedPrefix {
            prompts: Prompts { keys, values, places: self.places, lengths: &taken.prompt_lengths },
            own: Own { keys: own_keys, values: own_values, blocks: self.blocks, lengths: &taken.own_lengths },
            group_size,
            slots: &taken.slots,
            heads,
        };
        map([q_rhd], &q_rhd.size(), |[q], out| attend(&step, q, out, kernel_threads()))
    }
}
