//! Keys and values of the groups that are being answered: each prompt's once, each completion's own behind it.
//!
//! A step computes `softmax([q K_prompt^T, q K_own^T] / sqrt(d)) [V_prompt; V_own]`, so the prompt is never copied per
//! completion (shared-prefix attention; Juravsky et al. 2024, Hydragen).
//!
//! Memory is planned once, for so many groups at a time as a budget of tokens allows, and does not grow. A group enters
//! a free place and leaves it when its last completion ends; completion `c` of the group in place `n` has slot
//! `n * group_size + c`.
//!
//! Axes in tensor names: n group, m slot, r slot that takes part in a step, h head, k key/value head, l place in the
//! prompt, o place among a completion's own tokens, d width.

mod device;
mod kernels;
mod tensors;

use reft_kernels::Heads;
use reft_vlm::model::{AttentionPlan, PackedBatch, inference::has_kernels};
use tch::{Device, Kind, Tensor};

use self::{
    device::DeviceAttention,
    kernels::KernelLayer,
    tensors::{TensorLayer, TensorStep},
};

/// What is held at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvPlan {
    /// Groups.
    pub(crate) groups: usize,
    /// Completions of a group.
    pub(crate) group_size: usize,
    /// Tokens of the longest prompt.
    pub(crate) prompt_tokens: usize,
    /// Tokens of the longest completion.
    pub(crate) completion_tokens: usize,
}

impl KvPlan {
    /// As many groups as a budget of tokens allows, at least one and not more than there are.
    pub(crate) fn within(
        token_budget: usize,
        n_samples: usize,
        group_size: usize,
        prompt_tokens: usize,
        completion_tokens: usize,
    ) -> Self {
        let per_group = prompt_tokens + group_size * completion_tokens;
        let groups = (token_budget / per_group.max(1)).clamp(1, n_samples.max(1));
        Self { groups, group_size, prompt_tokens, completion_tokens }
    }
}

/// Which places are taken, and how far.
struct Occupancy {
    heads: Heads,
    group_size: usize,
    /// `[n]`, 0 for a free place.
    prompt_lengths: Vec<usize>,
    /// `[m]`, the token of the present step included.
    own_lengths: Vec<usize>,
    /// `[r]` ascending.
    slots: Vec<usize>,
}

enum Layers {
    Kernels(Vec<KernelLayer>),
    Tensors(Vec<TensorLayer>, Option<TensorStep>),
    Device(Vec<TensorLayer>, DeviceAttention),
}

/// The cache.
pub(crate) struct KvCache {
    occupancy: Occupancy,
    layers: Layers,
    kind: Kind,
    device: Device,
}

impl KvCache {
    /// An empty cache. `with_kernels`: a GPU uses the kernels of `reft-cuda` where they apply.
    pub(crate) fn new(
        plan: &KvPlan,
        n_layers: usize,
        heads: Heads,
        kind: Kind,
        device: Device,
        with_kernels: bool,
    ) -> Self {
        let attention = with_kernels.then(|| DeviceAttention::new(plan, heads, kind, device)).flatten();
        let layers = if let Some(attention) = attention {
            let layer = |_| TensorLayer::whole(plan, heads, kind, device);
            Layers::Device((0..n_layers).map(layer).collect(), attention)
        } else if has_kernels(device, kind) {
            Layers::Kernels((0..n_layers).map(|_| KernelLayer::new(plan, heads)).collect())
        } else {
            let layer = |_| TensorLayer::new(plan, heads, kind, device);
            Layers::Tensors((0..n_layers).map(layer).collect(), None)
        };
        let occupancy = Occupancy {
            heads,
            group_size: plan.group_size,
            prompt_lengths: vec![0; plan.groups],
            own_lengths: vec![0; plan.groups * plan.group_size],
            slots: Vec::new(),
        };
        Self { occupancy, layers, kind, device }
    }

    /// A prompt takes a place; its keys and values come layer by layer.
    fn enter(&mut self, place: usize, prompt_tokens: usize) {
        let Occupancy { group_size, prompt_lengths, own_lengths, .. } = &mut self.occupancy;
        prompt_lengths[place] = prompt_tokens;
        own_lengths[place * *group_size..(place + 1) * *group_size].fill(0);
    }

    /// `[l, k, d]` of a prompt.
    fn fill(&mut self, layer: usize, place: usize, k_lkd: &Tensor, v_lkd: &Tensor) {
        match &mut self.layers {
            Layers::Kernels(layers) => layers[layer].fill(&self.occupancy, place, k_lkd, v_lkd),
            Layers::Tensors(layers, _) | Layers::Device(layers, _) => {
                layers[layer].fill(place, k_lkd, v_lkd);
            }
        }
    }

    /// The next forward pass has one more token of each of these slots, ascending.
    pub(crate) fn begin_step(&mut self, slots: Vec<usize>) {
        for &slot in &slots {
            self.occupancy.own_lengths[slot] += 1;
        }
        self.occupancy.slots = slots;
        match &mut self.layers {
            Layers::Kernels(_) => {}
            Layers::Tensors(_, step) => {
                *step = Some(TensorStep::new(&self.occupancy, self.kind, self.device));
            }
            Layers::Device(_, attention) => attention.begin_step(&self.occupancy),
        }
    }
}

/// One step: every completion's newest token attends to its prompt and to the completion so far, itself included.
impl AttentionPlan for KvCache {
    fn attend(&mut self, layer: usize, q_rhd: &Tensor, k_rkd: &Tensor, v_rkd: &Tensor) -> Tensor {
        match &mut self.layers {
            Layers::Kernels(layers) => layers[layer].attend(&self.occupancy, q_rhd, k_rkd, v_rkd),
            Layers::Tensors(layers, Some(step)) => layers[layer].attend(step, q_rhd, k_rkd, v_rkd),
            Layers::Device(layers, attention) => attention.attend(&layers[layer], q_rhd, k_rkd, v_rkd),
            Layers::Tensors(_, None) => unreachable!("a step has begun"),
        }
    }
}

/// Runs prompts through the network and keeps their keys and values.
pub(crate) struct Prefill<'a> {
    batch: &'a PackedBatch,
    cache: &'a mut KvCache,
    /// The place of each prompt, and its packed tokens.
    prompts: Vec<(usize, i64)>,
}

impl<'a> Prefill<'a> {
    /// The prompts of a batch, into these places of the cache.
    pub(crate) fn new(batch: &'a PackedBatch, cache: &'a mut KvCache, prompts: Vec<(usize, i64)>) -> Self {
        for &(place, tokens) in &prompts {
            cache.enter(place, tokens as usize);
        }
        Self { batch, cache, prompts }
    }
}

impl AttentionPlan for Prefill<'_> {
    fn attend(&mut self, layer: usize, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor) -> Tensor {
        let mut first = 0;
        for &(place, tokens) in &self.prompts {
            let of_prompt = |x: &Tensor| x.narrow(0, first, tokens);
            self.cache.fill(layer, place, &of_prompt(k_tkd), &of_prompt(v_tkd));
            first += tokens;
        }
        let mut plan = self.batch;
        plan.attend(layer, q_thd, k_tkd, v_tkd)
    }
}

#[cfg(test)]
mod tests {
    use reft_vlm::model::inference::Inference;

    use super::*;

    #[test]
    fn plans_by_hand() {
        let groups = |budget, n_samples| KvPlan::within(budget, n_samples, 8, 100, 50).groups;
        // A group needs 500 tokens.
        assert_eq!(groups(2_000, 100), 4);
        assert_eq!(groups(2_499, 100), 4);
        assert_eq!(groups(2_000, 3), 3);
        assert_eq!(groups(10, 100), 1);
    }

    /// The same on a GPU, kernels in bf16 against tensor operations in fp32 on the CPU. Without a GPU there is nothing to
    /// compare; `cargo bench --bench cuda` compares whole rollouts.
    #[test]
    fn device_kernels_and_tensors_agree() {
        reft_vlm::cuda::load();
        if !tch::Cuda::is_available() {
            let is_asked_for = std::env::var_os("REFT_LIBTORCH_CUDA").is_some();
            assert!(!is_asked_for, "REFT_LIBTORCH_CUDA is set, but there is no GPU to test");
            return;
        }
        let gpu = Device::Cuda(0);
        let _inference = Inference::start();
        tch::manual_seed(0);
        for (heads, d) in [(Heads { n: 16, kv: 2, d: 128 }, 128), (Heads { n: 6, kv: 2, d: 64 }, 64)] {
            let plan = KvPlan { groups: 3, group_size: 5, prompt_tokens: 300, completion_tokens: 90 };
            let mut kernels = KvCache::new(&plan, 1, heads, Kind::BFloat16, gpu, true);
            assert!(matches!(kernels.layers, Layers::Device(..)));
            let layer = TensorLayer::new(&plan, heads, Kind::Float, Device::Cpu);
            let mut tensors = KvCache {
                layers: Layers::Tensors(vec![layer], None),
                ..KvCache::new(&plan, 1, heads, Kind::Float, Device::Cpu, true)
            };
            let (n, mut largest) = (heads.n as i64, 0.0_f64);
            let bf16 =
                |shape: [i64; 3]| Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
            for step in 0..150_usize {
                for (place, tokens) in [(0, 300), (1, 17), (2, 128), (0, 129)] {
                    if [0, 0, 30, 75][[300, 17, 128, 129].iter().position(|&t| t == tokens).unwrap()] == step
                    {
                        let [k, v] = [0, 1].map(|_| bf16([tokens, 2, d]));
                        kernels.enter(place, tokens as usize);
                        kernels.fill(0, place, &k.to_device(gpu), &v.to_device(gpu));
                        tensors.enter(place, tokens as usize);
                        tensors.fill(0, place, &k.to_kind(Kind::Float), &v.to_kind(Kind::Float));
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

    /// Random keys, values and queries through both kinds of cache, with groups that enter and leave and completions
    /// that end at different times.
    #[test]
    fn kernels_and_tensors_agree() {
        let _inference = Inference::start();
        tch::manual_seed(0);
        let heads = Heads { n: 6, kv: 2, d: 4 };
        let plan = KvPlan { groups: 3, group_size: 2, prompt_tokens: 9, completion_tokens: 70 };
        let float = (Kind::Float, Device::Cpu);
        let mut kernels = KvCache::new(&plan, 1, heads, Kind::Float, Device::Cpu, true);
        assert!(matches!(kernels.layers, Layers::Kernels(_)));
        let layer = TensorLayer::new(&plan, heads, Kind::Float, Device::Cpu);
        let mut tensors = KvCache {
            layers: Layers::Tensors(vec![layer], None),
            ..KvCache::new(&plan, 1, heads, Kind::Float, Device::Cpu, true)
        };
        let enter = |place: usize, tokens: i64, caches: [&mut KvCache; 2]| {
            let [k, v] = [0, 1].map(|_| Tensor::randn([tokens, 2, 4], float));
            for cache in caches {
                cache.enter(place, tokens as usize);
                cache.fill(0, place, &k, &v);
            }
        };
        enter(0, 5, [&mut kernels, &mut tensors]);
        enter(1, 9, [&mut kernels, &mut tensors]);
        for step in 0..140 {
            if step == 40 {
                enter(2, 3, [&mut kernels, &mut tensors]);
            }
            if step == 70 {
                enter(0, 7, [&mut kernels, &mut tensors]);
            }
            let live: Vec<usize> = match step {
                0..20 => vec![0, 1, 2, 3],
                20..40 => vec![1, 3],
                40..60 => vec![1, 3, 4, 5],
                60..70 => vec![4],
                _ => vec![0, 1],
            };
            let r = live.len() as i64;
            // Views with gaps, as the model has them.
            let qkv = Tensor::randn([r, 10, 4], float);
            let (q, k, v) = (qkv.narrow(1, 0, 6), qkv.narrow(1, 6, 2), qkv.narrow(1, 8, 2));
            let [a, b] = [&mut kernels, &mut tensors].map(|cache| {
                cache.begin_step(live.clone());
                cache.attend(0, &q, &k, &v)
            });
            let difference = (a.view([r, 6, 4]) - b).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "step {step}: {difference}");
        }
    }
}
