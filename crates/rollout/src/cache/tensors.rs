//! A layer's keys and values as tensors, for GPUs and other number types.
//!
//! Linear layers work on the slots that take part in a step; only here are these laid out by group, so that one product
//! per key/value head serves all completions of all groups.

use reft_kernels::{Heads, KvPlan};
use tch::{Device, Kind, Tensor};

use super::occupancy::Occupancy;

/// Positions for own tokens that a buffer starts with. It doubles up to what was planned.
const FIRST_PLACES: i64 = 32;

/// One layer.
pub(super) struct TensorLayer {
    /// `[n, k, l, d]`, keys and values.
    prompts: [Tensor; 2],
    /// `[m, k, o, d]`, keys and values.
    own: [Tensor; 2],
    planned_positions: i64,
    group_size: i64,
}

/// What all layers of a step share.
pub(super) struct TensorStep {
    slots_r: Tensor,
    /// `[r]` where the newest token goes.
    places_r: Tensor,
    /// Whether all slots take part, in order.
    is_whole: bool,
    /// `[n, 1, 1, l]` -inf where no token of the prompt is.
    prompt_mask: Tensor,
    /// `[m, 1, 1, o]` the same of own tokens.
    own_mask: Tensor,
}

impl TensorStep {
    pub(super) fn new(taken: &Occupancy, kind: Kind, device: Device) -> Self {
        let int = |values: Vec<usize>| {
            Tensor::from_slice(&values.into_iter().map(|v| v as i64).collect::<Vec<_>>()).to_device(device)
        };
        let mask = |lengths: &[usize]| {
            let longest = lengths.iter().copied().max().unwrap_or(0).max(1) as i64;
            let positions = Tensor::arange(longest, (Kind::Int64, device)).view([1, 1, 1, -1]);
            let beyond = positions.ge_tensor(&int(lengths.to_vec()).view([-1, 1, 1, 1]));
            Tensor::zeros(beyond.size(), (kind, device)).masked_fill(&beyond, f64::NEG_INFINITY)
        };
        Self {
            slots_r: int(taken.slots.clone()),
            places_r: int(taken.slots.iter().map(|&slot| taken.own_lengths[slot] - 1).collect()),
            is_whole: taken.slots.len() == taken.own_lengths.len(),
            prompt_mask: mask(&taken.prompt_lengths),
            own_mask: mask(&taken.own_lengths),
        }
    }
}

impl TensorLayer {
    pub(super) fn new(plan: &KvPlan, heads: Heads, kind: Kind, device: Device) -> Self {
        let (k, d) = (heads.kv as i64, heads.d as i64);
        let planned_positions = plan.completion_tokens as i64;
        let zeros = |n: usize, positions: i64| Tensor::zeros([n as i64, k, positions, d], (kind, device));
        let (of_prompts, of_own) = (plan.prompt_tokens as i64, planned_positions.min(FIRST_PLACES));
        let slots = plan.groups * plan.group_size;
        Self {
            prompts: [0, 1].map(|_| zeros(plan.groups, of_prompts)),
            own: [0, 1].map(|_| zeros(slots, of_own)),
            planned_positions,
            group_size: plan.group_size as i64,
        }
    }

    /// With all its positions from the start.
    pub(super) fn whole(plan: &KvPlan, heads: Heads, kind: Kind, device: Device) -> Self {
        let mut layer = Self::new(plan, heads, kind, device);
        layer.reserve(layer.planned_positions);
        layer
    }

    /// Keys and values of prompts and of completions.
    pub(super) fn buffers(&self) -> [&[Tensor; 2]; 2] {
        [&self.prompts, &self.own]
    }

    pub(super) fn fill(&mut self, group_slot: usize, k_lkd: &Tensor, v_lkd: &Tensor) {
        for (buffer, x_lkd) in self.prompts.iter().zip([k_lkd, v_lkd]) {
            buffer.get(group_slot as i64).narrow(1, 0, x_lkd.size()[0]).copy_(&x_lkd.transpose(0, 1));
        }
    }

    /// `[r, h, d]`.
    pub(super) fn attend(
        &mut self,
        step: &TensorStep,
        q_rhd: &Tensor,
        k_rkd: &Tensor,
        v_rkd: &Tensor,
    ) -> Tensor {
        let (o, l) = (step.own_mask.size()[3], step.prompt_mask.size()[3]);
        self.reserve(o);
        for (buffer, x_rkd) in self.own.iter_mut().zip([k_rkd, v_rkd]) {
            let at = [Some(&step.slots_r), None, Some(&step.places_r)];
            let _ = buffer.index_put_(&at, x_rkd, false);
        }
        let [keys, values] = self.prompts.each_ref().map(|x| x.narrow(2, 0, l));
        let [own_keys, own_values] = self.own.each_ref().map(|x| x.narrow(2, 0, o));
        let (n, k, d, m) = (keys.size()[0], keys.size()[1], keys.size()[3], own_keys.size()[0]);
        let (h, s) = (q_rhd.size()[1], self.group_size);

        let q_rhd = q_rhd * (1.0 / (d as f64).sqrt());
        let q_mhd = if step.is_whole {
            q_rhd
        } else {
            Tensor::zeros([m, h, d], (q_rhd.kind(), q_rhd.device())).index_copy(0, &step.slots_r, &q_rhd)
        };
        let x_of_group = |x: &Tensor| {
            // `[m, k, h / k, x]` to `[n, k, s * h / k, x]`.
            let x = x.reshape([n, s, k, h / k, -1]).transpose(1, 2);
            x.reshape([n, k, s * h / k, -1])
        };
        let prompt_scores = x_of_group(&q_mhd).matmul(&keys.transpose(2, 3)) + &step.prompt_mask;
        let own_scores = q_mhd.reshape([m, k, h / k, d]).matmul(&own_keys.transpose(2, 3)) + &step.own_mask;
        let scores = Tensor::cat(&[prompt_scores, x_of_group(&own_scores)], 3);
        let probs = scores.softmax(-1, Kind::Float).to_kind(q_mhd.kind());

        let x_of_slot =
            |x: &Tensor| x.reshape([n, k, s, h / k, -1]).transpose(1, 2).reshape([m, k, h / k, -1]);
        let prompt_out = x_of_slot(&probs.narrow(3, 0, l).matmul(&values));
        let own_out = x_of_slot(&probs.narrow(3, l, o)).matmul(&own_values);
        // With one group the sum keeps the order of its heads.
        let out_mhd = (prompt_out + own_out).reshape([m, h, d]);
        if step.is_whole { out_mhd } else { out_mhd.index_select(0, &step.slots_r) }
    }

    fn reserve(&mut self, positions: i64) {
        let present = self.own[0].size()[2];
        if positions <= present {
            return;
        }
        let wanted = positions.max(2 * present).min(self.planned_positions);
        self.own = self.own.each_ref().map(|old| {
            let size = old.size();
            let new = Tensor::zeros([size[0], size[1], wanted, size[3]], (old.kind(), old.device()));
            new.narrow(2, 0, present).copy_(old);
            new
        });
    }
}
