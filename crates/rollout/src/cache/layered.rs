//! A cache that attends layer by layer, for the model's own forward pass: on GPUs, and where kernels do not compute.

use reft_kernels::{Heads, KvPlan};
use reft_vlm::model::{Decoder, DeltaInputs, DeltaMemory, DeltaState, TokenPlan};
use tch::{Device, Kind, Tensor};

use super::{
    Newest,
    device::DeviceAttention,
    occupancy::Occupancy,
    states::StateLayer,
    tensors::{TensorLayer, TensorStep},
};

enum Layers {
    Tensors(Vec<TensorLayer>, Option<TensorStep>),
    Device(Vec<TensorLayer>, DeviceAttention),
}

/// The cache.
pub(crate) struct LayeredCache {
    occupancy: Occupancy,
    /// Of the layers that attend.
    layers: Layers,
    /// Of the others.
    states: Vec<StateLayer>,
    /// The index of each layer of the decoder among those of its sort.
    indices: Vec<usize>,
    kind: Kind,
    device: Device,
}

impl LayeredCache {
    /// An empty cache. `with_kernels`: a GPU uses the kernels of `reft-cuda` where they apply.
    pub(crate) fn new(
        plan: &KvPlan,
        decoder: &Decoder,
        kind: Kind,
        device: Device,
        with_kernels: bool,
    ) -> Self {
        let attends: Vec<bool> = (0..decoder.n_layers()).map(|layer| decoder.attends(layer)).collect();
        Self::of_layers(plan, &attends, decoder.heads(), kind, device, with_kernels)
    }

    /// For layers that attend or not.
    fn of_layers(
        plan: &KvPlan,
        attends: &[bool],
        heads: Heads,
        kind: Kind,
        device: Device,
        with_kernels: bool,
    ) -> Self {
        let n_layers = attends.iter().filter(|&&attends| attends).count();
        let before = |layer: usize| attends[..layer].iter().filter(|&&other| other == attends[layer]).count();
        let attention = with_kernels.then(|| DeviceAttention::new(plan, heads, kind, device)).flatten();
        let layers = if let Some(attention) = attention {
            let layer = |_| TensorLayer::whole(plan, heads, kind, device);
            Layers::Device((0..n_layers).map(layer).collect(), attention)
        } else {
            let layer = |_| TensorLayer::new(plan, heads, kind, device);
            Layers::Tensors((0..n_layers).map(layer).collect(), None)
        };
        let occupancy = Occupancy {
            group_size: plan.group_size,
            prompt_lengths: vec![0; plan.groups],
            own_lengths: vec![0; plan.groups * plan.group_size],
            slots: Vec::new(),
        };
        Self {
            occupancy,
            layers,
            states: (n_layers..attends.len()).map(|_| StateLayer::new(plan)).collect(),
            indices: (0..attends.len()).map(before).collect(),
            kind,
            device,
        }
    }

    /// What a layer without attention remembers behind prompts.
    pub(super) fn remember_prompts(
        &mut self,
        layer: usize,
        group_slots: impl Iterator<Item = usize>,
        states: &DeltaState,
    ) {
        self.states[self.indices[layer]].fill(group_slots, states);
    }

    /// A prompt takes a group slot; its keys and values come layer by layer.
    pub(super) fn enter(&mut self, group_slot: usize, prompt_tokens: usize) {
        let Occupancy { group_size, prompt_lengths, own_lengths, .. } = &mut self.occupancy;
        prompt_lengths[group_slot] = prompt_tokens;
        own_lengths[group_slot * *group_size..(group_slot + 1) * *group_size].fill(0);
    }

    /// A completion begins anew behind its prompt.
    pub(super) fn begin(&mut self, slot: usize) {
        self.occupancy.own_lengths[slot] = 0;
    }

    /// `[l, k, d]` of a prompt.
    pub(super) fn fill(&mut self, layer: usize, group_slot: usize, k_lkd: &Tensor, v_lkd: &Tensor) {
        let (Layers::Tensors(layers, _) | Layers::Device(layers, _)) = &mut self.layers;
        layers[self.indices[layer]].fill(group_slot, k_lkd, v_lkd);
    }

    /// Reads one more token of each of some completions. Logits `[r, v]` of the next, fp32.
    pub(super) fn step(&mut self, decoder: &Decoder, newest: Newest) -> Tensor {
        let on_device = |x: &[i64]| Tensor::from_slice(x).to_device(self.device);
        let (tokens_r, positions_r) = (on_device(&newest.tokens), on_device(&newest.positions));
        self.begin_step(newest.slots);
        let positions_3r = positions_r.unsqueeze(0).expand([3, -1], false);
        decoder.logits(&decoder.forward(&decoder.embed(&tokens_r), &positions_3r, self))
    }

    /// The next forward pass has one more token of each of these slots, ascending.
    fn begin_step(&mut self, slots: Vec<usize>) {
        for &slot in &slots {
            self.occupancy.own_lengths[slot] += 1;
        }
        self.occupancy.slots = slots;
        match &mut self.layers {
            Layers::Tensors(_, step) => {
                *step = Some(TensorStep::new(&self.occupancy, self.kind, self.device));
            }
            Layers::Device(_, attention) => attention.begin_step(&self.occupancy),
        }
    }
}

/// One step: every completion's newest token attends to its prompt and to the completion so far, itself included.
impl TokenPlan for LayeredCache {
    fn attend(&mut self, layer: usize, q_rhd: &Tensor, k_rkd: &Tensor, v_rkd: &Tensor) -> Tensor {
        let index = self.indices[layer];
        match &mut self.layers {
            Layers::Tensors(layers, Some(step)) => layers[index].attend(step, q_rhd, k_rkd, v_rkd),
            Layers::Device(layers, attention) => attention.attend(&layers[index], q_rhd, k_rkd, v_rkd),
            Layers::Tensors(_, None) => unreachable!("a step has begun"),
        }
    }

    fn remember(&mut self, layer: usize, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor {
        self.states[self.indices[layer]].step(&self.occupancy, memory, inputs)
    }
}

#[cfg(test)]
mod tests {
    use reft_vlm::model::inference::Inference;

    use super::*;

    /// Kernels of every GPU in bf16 against tensor operations in fp32 on the CPU. Without a GPU there is nothing to
    /// compare; `cargo bench --bench cuda` compares whole rollouts.
    #[test]
    fn device_kernels_and_tensors_agree() {
        reft_vlm::cuda::load();
        if !tch::Cuda::is_available() {
            let is_asked_for = std::env::var_os("REFT_LIBTORCH_CUDA").is_some();
            assert!(!is_asked_for, "REFT_LIBTORCH_CUDA is set, but there is no GPU to test");
            return;
        }
        for gpu in 0..tch::Cuda::device_count() as usize {
            agree_on(Device::Cuda(gpu));
        }
    }

    fn agree_on(gpu: Device) {
        let _inference = Inference::start();
        tch::manual_seed(0);
        for (heads, d) in [(Heads { n: 16, kv: 2, d: 128 }, 128), (Heads { n: 6, kv: 2, d: 64 }, 64)] {
            let plan = KvPlan { groups: 3, group_size: 5, prompt_tokens: 300, completion_tokens: 90 };
            let mut kernels = LayeredCache::of_layers(&plan, &[true], heads, Kind::BFloat16, gpu, true);
            assert!(matches!(kernels.layers, Layers::Device(..)));
            let layer = TensorLayer::new(&plan, heads, Kind::Float, Device::Cpu);
            let mut tensors = LayeredCache {
                layers: Layers::Tensors(vec![layer], None),
                ..LayeredCache::of_layers(&plan, &[true], heads, Kind::Float, Device::Cpu, true)
            };
            let (n, mut largest) = (heads.n as i64, 0.0_f64);
            let bf16 =
                |shape: [i64; 3]| Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
            for step in 0..150_usize {
                for (group_slot, tokens) in [(0, 300), (1, 17), (2, 128), (0, 129)] {
                    if [0, 0, 30, 75][[300, 17, 128, 129].iter().position(|&t| t == tokens).unwrap()] == step
                    {
                        let [k, v] = [0, 1].map(|_| bf16([tokens, 2, d]));
                        kernels.enter(group_slot, tokens as usize);
                        kernels.fill(0, group_slot, &k.to_device(gpu), &v.to_device(gpu));
                        tensors.enter(group_slot, tokens as usize);
                        tensors.fill(0, group_slot, &k.to_kind(Kind::Float), &v.to_kind(Kind::Float));
                    }
                }
                let live: Vec<usize> = match step {
                    0..30 => (0..10).collect(),
                    30..75 => vec![1, 3, 8, 10, 11, 14],
                    _ => (0..5).chain(12..14).collect(),
                };
                // Views with gaps, as the model has them.
                let qkv = bf16([live.len() as i64, n + 4, d]);
                let parts = |x: &Tensor| [(0, n), (n, 2), (n + 2, 2)].map(|(at, len)| x.narrow(1, at, len));
                let ([q, k, v], [q32, k32, v32]) =
                    (parts(&qkv.to_device(gpu)), parts(&qkv.to_kind(Kind::Float)));
                kernels.begin_step(live.clone());
                tensors.begin_step(live);
                let a = kernels.attend(0, &q, &k, &v).to_device(Device::Cpu).to_kind(Kind::Float);
                let b = tensors.attend(0, &q32, &k32, &v32).view(a.size().as_slice());
                let difference = ((&a - &b).norm() / b.norm()).double_value(&[]);
                assert!(difference < 0.01, "step {step}: {difference}");
                largest = largest.max(difference);
            }
            assert!(largest > 0.0, "bf16 differs from fp32");
        }
    }
}
