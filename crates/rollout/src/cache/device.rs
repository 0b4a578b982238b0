//! Attention of a decode step by the kernels of `reft-cuda`, over keys and values that lie as [`TensorLayer`] lays them:
//! bf16 on a GPU.

use std::{
    io::{self, Write as _},
    sync::Once,
};

use reft_cuda::{DecodeKernels, DecodeShape, DecodeStep};
use reft_kernels::{Heads, KvPlan};
use tch::{Device, Kind, Tensor};

use super::{occupancy::Occupancy, tensors::TensorLayer};

/// Kernels with the memory that all layers use in turn.
pub(super) struct DeviceAttention {
    kernels: DecodeKernels,
    /// `[n + 2 m]` of the present step, see [`DecodeStep::lengths`].
    lengths: Tensor,
    sums: Tensor,
    scales: Tensor,
    rows: usize,
    device: Device,
}

/// Why the decode kernels cannot be had on the first GPU, if they cannot.
pub fn decode_kernels_missing() -> Option<String> {
    DecodeKernels::check().err().map(|error| error.to_string())
}

/// Told when the kernels cannot be loaded.
static NOT_LOADED: Once = Once::new();

impl DeviceAttention {
    /// None where the kernels do not apply or cannot be loaded; tensor operations do the same, slower.
    pub(super) fn new(plan: &KvPlan, heads: Heads, kind: Kind, device: Device) -> Option<Self> {
        let shape = DecodeShape {
            groups: plan.groups,
            group_size: plan.group_size,
            heads: heads.n,
            kv_heads: heads.kv,
            d: heads.d,
            prompt_places: plan.prompt_tokens,
            own_places: plan.completion_tokens,
        };
        let Device::Cuda(gpu) = device else { return None };
        if kind != Kind::BFloat16 || !shape.is_supported() {
            return None;
        }
        let parts = (plan.groups * plan.group_size * heads.n * shape.parts()) as i64;
        let float = (Kind::Float, device);
        let sums = Tensor::zeros([parts, heads.d as i64], float);
        let kernels = match DecodeKernels::load(shape, gpu) {
            Ok(kernels) => kernels,
            Err(error) => {
                // Once a process: every rollout would say the same.
                NOT_LOADED.call_once(|| {
                    let _ = writeln!(
                        io::stderr(),
                        "note: the decode kernels cannot be loaded, so rollout is slower than it could be: {error}"
                    );
                });
                return None;
            }
        };
        Some(Self {
            kernels,
            lengths: Tensor::zeros([(plan.groups * (1 + 2 * plan.group_size)) as i64], (Kind::Int, device)),
            sums,
            scales: Tensor::empty([parts, 2], float),
            rows: 0,
            device,
        })
    }

    pub(super) fn begin_step(&mut self, taken: &Occupancy) {
        let mut row_of_slot = vec![-1; taken.own_lengths.len()];
        for (row, &slot) in taken.slots.iter().enumerate() {
            row_of_slot[slot] = row as i32;
        }
        let lengths = taken.prompt_lengths.iter().chain(&taken.own_lengths).map(|&n| n as i32);
        let all: Vec<i32> = lengths.chain(row_of_slot).collect();
        self.lengths = Tensor::from_slice(&all).to_device(self.device);
        self.rows = taken.slots.len();
    }

    /// `[r, h, d]`.
    #[expect(unsafe_code, reason = "kernels read and write libtorch's memory")]
    pub(super) fn attend(
        &self,
        layer: &TensorLayer,
        q_rhd: &Tensor,
        k_rkd: &Tensor,
        v_rkd: &Tensor,
    ) -> Tensor {
        let qkv = [q_rhd, k_rkd, v_rkd].map(whole_rows);
        let out_rhd = Tensor::empty(q_rhd.size(), (q_rhd.kind(), self.device));
        let address = |x: &Tensor| x.data_ptr() as u64;
        let [prompts, own] = layer.buffers();
        let step = DecodeStep {
            rows: self.rows,
            lengths: address(&self.lengths),
            qkv: qkv.each_ref().map(|x| (address(x), x.stride()[0] as usize)),
            prompts: prompts.each_ref().map(address),
            own: own.each_ref().map(address),
            sums: address(&self.sums),
            scales: address(&self.scales),
            out: address(&out_rhd),
        };
        // SAFETY: the tensors are of the sizes that the plan gave the kernels, and libtorch frees memory in the order of
        // the default stream, on which the kernels run.
        let done = unsafe { self.kernels.attend(&step) };
        assert!(done.is_ok(), "attention of a decode step: {done:?}");
        out_rhd
    }
}

/// Rows that lie in one piece and start at multiples of 16 bytes.
fn whole_rows(x: &Tensor) -> Tensor {
    let (size, stride) = (x.size(), x.stride());
    let is_whole = stride[2] == 1 && (size[1] == 1 || stride[1] == size[2]) && stride[0] % 8 == 0;
    if is_whole && (x.data_ptr() as usize).is_multiple_of(16) { x.shallow_clone() } else { x.contiguous() }
}
