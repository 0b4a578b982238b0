//! Keys and values of the groups that are being answered: each prompt's once, each completion's own behind it.

use std::sync::{Mutex, PoisonError, RwLock};

use super::plan::KvPlan;
use crate::{
    Heads, Rows,
    attention::{OwnHead, PromptHead},
};

/// The cache of a decoder. Memory is set aside once and does not grow; what is never used of it is never touched.
pub(super) struct Cache {
    pub(super) layers: Vec<CacheLayer>,
    pub(super) plan: KvPlan,
    heads: Heads,
}

pub(super) struct CacheLayer {
    /// `[n, k]`.
    pub(super) prompts: Vec<RwLock<PromptHead>>,
    /// `[m, k]`. A head has one reader and writer in a step.
    pub(super) own: Vec<Mutex<OwnHead>>,
}

impl Cache {
    pub(super) fn new(n_layers: usize, heads: Heads, plan: KvPlan) -> Self {
        let Heads { kv, d, .. } = heads;
        let slots = plan.groups * plan.group_size;
        let prompt = |_| RwLock::new(PromptHead::with_room(plan.prompt_tokens, d));
        let own = |_| Mutex::new(OwnHead::with_room(plan.completion_tokens, d));
        let layer = |_| CacheLayer {
            prompts: (0..plan.groups * kv).map(prompt).collect(),
            own: (0..slots * kv).map(own).collect(),
        };
        Self { layers: (0..n_layers).map(layer).collect(), plan, heads }
    }

    /// A prompt of `tokens` is that of a group in a layer: keys and values `[tokens, k * d]`. Its completions begin anew.
    pub(super) fn fill<'a>(&self, layer: usize, group: usize, tokens: usize, [keys, values]: [Rows<'a>; 2]) {
        let Heads { kv, d, .. } = self.heads;
        let KvPlan { group_size, prompt_tokens, .. } = self.plan;
        assert!(tokens <= prompt_tokens, "a prompt is no longer than was planned");
        let layer = &self.layers[layer];
        for head in 0..kv {
            let of_head = |row: &'a [f32]| &row[head * d..(head + 1) * d];
            let key = |token| of_head(keys.row(token, kv * d));
            let values: Vec<_> = (0..tokens).map(|token| of_head(values.row(token, kv * d))).collect();
            let mut prompt = layer.prompts[group * kv + head].write().unwrap_or_else(PoisonError::into_inner);
            prompt.fill((0..tokens).map(key), &values, d);
        }
        for slot in group * group_size..(group + 1) * group_size {
            layer.clear(slot, kv);
        }
    }

    /// A completion begins anew behind its prompt.
    pub(super) fn begin(&self, slot: usize) {
        for layer in &self.layers {
            layer.clear(slot, self.heads.kv);
        }
    }
}

impl CacheLayer {
    fn clear(&self, slot: usize, kv: usize) {
        for own in &self.own[slot * kv..(slot + 1) * kv] {
            own.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}
