//! The memory that a model needs, by what is done with it, computed from shapes alone.
//!
//! Of `n` parameters, `t` are trained, in `b` bytes each (4 of fp32, 2 of bf16 and fp16):
//!
//! - weights: `b n`
//! - gradients: `b t`
//! - AdamW: two fp32 moments, `8 t`, and fp32 master weights when `b < 4`, `4 t`
//! - KL reference: `b n`
//! - update: temporaries of pieces of the largest trained buffer ([`BufferKey`](crate::model::BufferKey)) of `l` parameters,
//!   either four fp32 numbers for each of at most 2^24 elements, where AdamW moves them, or one (two when `b < 4`) for each of
//!   at most 2^26, where their norm is taken
//!
//! With an adapter of `a` numbers, all fp32, of which nothing else learns, and no reference, because that is the model with
//! the adapter switched off:
//!
//! - weights: `b n + 4 a`; gradients: `4 a`; AdamW: `8 a`; update: with the adapter's largest buffer
//!
//! Of N ranks with `run.shard = "optimizer"` each has an Nth of AdamW's; when a checkpoint is written, rank 0 holds all of it
//! in the memory of its machine.
//!
//! Activations, key-value cache and libtorch itself come on top. They depend on batch and lengths; activations are gone
//! when the update is made, so a step needs the larger of the two.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::Kind;

use crate::model::{ParamSpec, PartOfModel};

/// Bytes by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// The policy's parameters.
    pub weights: u64,
    /// Their gradients.
    pub gradients: u64,
    /// Moments and master weights.
    pub adamw: u64,
    /// The frozen copy of a KL penalty.
    pub reference: u64,
    /// At most what an update holds for a moment.
    pub update: u64,
}

impl Footprint {
    /// Of parameters in `kind`, of which the parts that `learns` says are trained.
    pub fn new(
        specs: &[ParamSpec],
        kind: Kind,
        learns: impl Fn(PartOfModel) -> bool,
        has_reference: bool,
    ) -> Self {
        let bytes = kind.elt_size_in_bytes() as u64;
        let numel = |spec: &ParamSpec| spec.numel() as u64;
        let weights = bytes * specs.iter().map(numel).sum::<u64>();
        let mut buffers = BTreeMap::new();
        for spec in specs.iter().filter(|spec| learns(spec.part())) {
            *buffers.entry(spec.buffer()).or_default() += numel(spec);
        }
        let (trained, largest): (u64, u64) =
            (buffers.values().sum(), buffers.values().copied().max().unwrap_or(0));
        let widened = if kind == Kind::Float { 4 } else { 8 };
        let master = if kind == Kind::Float { 0 } else { 4 * trained };
        Self {
            weights,
            gradients: bytes * trained,
            adamw: 8 * trained + master,
            reference: if has_reference { weights } else { 0 },
            update: (16 * largest.min(1 << 24)).max(widened * largest.min(1 << 26)),
        }
    }

    /// Of parameters in `kind` that do not learn beside the parameters of an adapter that do.
    pub(crate) fn with_adapter(specs: &[ParamSpec], kind: Kind, adapter: &[ParamSpec]) -> Self {
        let learns = Self::new(adapter, Kind::Float, |_| true, false);
        let frozen = Self::new(specs, kind, |_| false, false);
        Self { weights: frozen.weights + learns.weights, ..learns }
    }

    /// What each of `ranks` ranks needs that divide the optimizer's state: parts of whole blocks, so an Nth up to 256 N
    /// values for each buffer.
    #[must_use]
    pub fn divided(self, ranks: u64) -> Self {
        Self { adamw: self.adamw.div_ceil(ranks.max(1)), ..self }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.adamw + self.reference + self.update
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_by_hand() {
        let specs = [
            ("visual.blocks.0.attn.qkv.weight", vec![4, 3]),
            ("visual.blocks.0.attn.qkv.bias", vec![5]),
            ("visual.merger.mlp.0.weight", vec![2, 2]),
            ("model.layers.0.mlp.up_proj.weight", vec![10, 2]),
            ("lm_head.weight", vec![3, 2]),
        ]
        .map(|(name, shape)| ParamSpec { name: name.into(), shape, stacked: false });

        let all = Footprint::new(&specs, Kind::Float, |_| true, true);
        // 47 parameters; the largest buffer is the decoder's matrices with 26.
        let expected =
            Footprint { weights: 188, gradients: 188, adamw: 376, reference: 188, update: 16 * 26 };
        assert_eq!(all, expected);

        let tower = Footprint::new(&specs, Kind::BFloat16, |part| part == PartOfModel::VisionTower, false);
        let expected = Footprint { weights: 94, gradients: 34, adamw: 204, reference: 0, update: 16 * 12 };
        assert_eq!((tower, tower.total()), (expected, 524));
        assert_eq!(tower.divided(1), tower);
        assert_eq!(tower.divided(4), Footprint { adamw: 51, ..tower });

        let none = Footprint::new(&specs, Kind::Half, |_| false, false);
        assert_eq!(none, Footprint { weights: 94, ..Footprint::default() });

        let adapter =
            [("model.layers.0.x.lora_A.weight", vec![2, 3]), ("visual.x.lora_B.weight", vec![4, 2])]
                .map(|(name, shape)| ParamSpec { name: name.into(), shape, stacked: false });
        let lora = Footprint::with_adapter(&specs, Kind::BFloat16, &adapter);
        let expected =
            Footprint { weights: 94 + 56, gradients: 56, adamw: 112, reference: 0, update: 16 * 8 };
        assert_eq!(lora, expected);
    }
}
