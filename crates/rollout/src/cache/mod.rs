//! Keys and values of the groups that are being answered: each prompt's once, each completion's own behind it.
//!
//! A step computes `softmax([q K_prompt^T, q K_own^T] / sqrt(d)) [V_prompt; V_own]`, so the prompt is never copied per
//! completion (shared-prefix attention; Juravsky et al. 2024, Hydragen).
//!
//! Memory is planned once, for so many groups at a time as a budget of tokens allows, and does not grow. A group enters
//! a free group slot and leaves it when its last completion ends; completion `c` of the group in group slot `n` has slot
//! `n * group_size + c`.
//!
//! Axes in tensor names: n group, m slot, r slot that takes part in a step, h head, k key/value head, l position in the
//! prompt, o position among a completion's own tokens, d width, v vocabulary.

mod device;
mod layered;
mod occupancy;
mod states;
mod tensors;

use reft_autograd::filled;
use reft_kernels::{Decode, KvPlan};
use reft_vlm::{
    Vlm,
    model::{
        Decoder, DeltaInputs, DeltaMemory, PackedBatch, TokenPlan,
        inference::{kernel_threads, read},
    },
    processor::EncodedPrompt,
};
use tch::Tensor;

pub use self::device::decode_kernels_missing;
use self::layered::LayeredCache;

/// The cache, with the decode step that reads it.
pub(crate) enum KvCache<'a> {
    /// A whole step of kernels: fp32 on the CPU.
    Whole(&'a Decode<'a>),
    /// The model's own forward pass.
    Layered(Box<LayeredCache>),
}

/// Runs `work` with an empty cache for the policy's decoder; with `with_kernels` one of kernels where they compute.
pub(crate) fn with_cache<T>(
    policy: &Vlm,
    plan: KvPlan,
    with_kernels: bool,
    work: impl FnOnce(KvCache<'_>) -> T,
) -> T {
    let decoder = &policy.network().decoder;
    // SAFETY: a rollout writes to no parameter, and the policy is borrowed while it answers.
    #[expect(unsafe_code, reason = "the step's kernels read the parameters where they are")]
    let kernels = with_kernels.then(|| unsafe { decoder.for_kernels() }).flatten();
    if let Some(kernels) = kernels {
        return Decode::with(&kernels, plan, kernel_threads(), |decode| work(KvCache::Whole(decode)));
    }
    let (kind, device) = (policy.kind(), policy.device());
    let cache = LayeredCache::new(&plan, decoder, kind, device, with_kernels);
    work(KvCache::Layered(Box::new(cache)))
}

/// The newest token of some completions.
pub(crate) struct Newest {
    /// `[r]` ascending.
    pub(crate) slots: Vec<usize>,
    /// `[r]` their ids.
    pub(crate) tokens: Vec<i64>,
    /// `[r]` their positions, the same on each axis of M-RoPE.
    pub(crate) positions: Vec<i64>,
}

impl KvCache<'_> {
    /// Reads one more token of each of some completions. Logits `[r, v]` of the next, fp32.
    pub(crate) fn step(&mut self, decoder: &Decoder, newest: Newest) -> Tensor {
        match self {
            Self::Whole(decode) => {
                let Newest { slots, tokens, positions } = newest;
                let size = [slots.len() as i64, decode.vocabulary() as i64];
                filled(&size, |logits| decode.step(&tokens, &positions, &slots, logits))
            }
            Self::Layered(cache) => cache.step(decoder, newest),
        }
    }

    /// A completion begins anew behind the prompt of its group slot.
    pub(crate) fn begin(&mut self, slot: usize) {
        match self {
            Self::Whole(decode) => decode.begin(slot),
            Self::Layered(cache) => cache.begin(slot),
        }
    }

    /// `[l, k, d]` of a prompt, rotary applied.
    fn fill(&mut self, layer: usize, group_slot: usize, k_lkd: &Tensor, v_lkd: &Tensor) {
        match self {
            Self::Whole(decode) => {
                let tokens = k_lkd.size()[0] as usize;
                read([k_lkd, v_lkd], |rows| decode.fill(layer, group_slot, tokens, rows));
            }
            Self::Layered(cache) => cache.fill(layer, group_slot, k_lkd, v_lkd),
        }
    }
}

/// Reads prompts, each into its group slot: logits `[n, v]` behind them, and the position of the first token of an answer to
/// each.
pub(crate) fn read_prompts(
    policy: &Vlm,
    cache: &mut KvCache<'_>,
    prompts: &[(usize, &EncodedPrompt)],
) -> (Tensor, Vec<i64>) {
    let network = policy.network();
    let packed = policy.pack(&prompts.iter().map(|&(_, prompt)| (prompt, Vec::new())).collect::<Vec<_>>());
    let lengths: Vec<(usize, i64)> =
        prompts.iter().map(|&(slot, prompt)| (slot, prompt.token_ids.len() as i64)).collect();
    let mut end = 0;
    let last = lengths.iter().map(|&(_, tokens)| {
        end += tokens;
        end - 1
    });
    let last_n = Tensor::from_slice(&last.collect::<Vec<i64>>()).to_device(policy.device());
    let mut plan = Prefill::new(&packed, cache, lengths);
    let hidden_td = network.decoder.forward(&network.embed(&packed), &packed.positions_3t, &mut plan);
    let logits_nv = network.decoder.logits(&hidden_td.index_select(0, &last_n));
    (logits_nv, packed.prompt_positions.iter().map(|positions| positions.next).collect())
}

/// Runs prompts through the network and keeps their keys and values.
struct Prefill<'a, 'c> {
    batch: &'a PackedBatch,
    cache: &'a mut KvCache<'c>,
    /// The group slot of each prompt, and its packed tokens.
    prompts: Vec<(usize, i64)>,
}

impl<'a, 'c> Prefill<'a, 'c> {
    /// The prompts of a batch, into these group slots of the cache.
    fn new(batch: &'a PackedBatch, cache: &'a mut KvCache<'c>, prompts: Vec<(usize, i64)>) -> Self {
        if let KvCache::Layered(cache) = cache {
            for &(group_slot, tokens) in &prompts {
                cache.enter(group_slot, tokens as usize);
            }
        }
        Self { batch, cache, prompts }
    }
}

impl TokenPlan for Prefill<'_, '_> {
    fn attend(&mut self, layer: usize, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor) -> Tensor {
        let mut first = 0;
        for &(group_slot, tokens) in &self.prompts {
            let of_prompt = |x: &Tensor| x.narrow(0, first, tokens);
            self.cache.fill(layer, group_slot, &of_prompt(k_tkd), &of_prompt(v_tkd));
            first += tokens;
        }
        let mut plan = self.batch;
        plan.attend(layer, q_thd, k_tkd, v_tkd)
    }

    fn remember(&mut self, layer: usize, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor {
        let (out, states) = self.batch.remember(memory, inputs);
        let KvCache::Layered(cache) = &mut *self.cache else {
            unreachable!("kernels of a whole step have no layer without attention")
        };
        cache.remember_prompts(layer, self.prompts.iter().map(|&(group_slot, _)| group_slot), &states);
        out
    }
}
