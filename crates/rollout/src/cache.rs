//! Keys and values of a batch: each prompt's once, each completion's own behind it.
//!
//! A step computes `softmax([q K_prompt^T, q K_own^T] / sqrt(d)) [V_prompt; V_own]` from two products each, so the
//! prompt is never copied per completion (shared-prefix attention; Juravsky et al. 2024, Hydragen).
//! Prompts are padded to the longest only here. All completions have equally many tokens of their own, because they
//! start together; their buffer is written in place and doubled when it is full.
//!
//! Axes in tensor names: n group, m completion, s completion within its group, h head, k key/value head, l place in the
//! prompt, o place among a completion's own tokens, d width.

use reft_vlm::model::{AttentionPlan, PackedBatch, Segments};
use tch::{Kind, Tensor};

/// Places for own tokens that a buffer starts with.
const FIRST_CAPACITY: i64 = 32;

struct KeysValues {
    keys: Tensor,
    values: Tensor,
}

impl KeysValues {
    fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self { keys: f(&self.keys), values: f(&self.values) }
    }
}

/// The cache of one batch of groups.
pub(crate) struct KvCache {
    /// Per layer, `[n, k, l, d]`.
    prompts: Vec<KeysValues>,
    /// Per layer, `[m, k, capacity, d]`; empty before the first step.
    own: Vec<KeysValues>,
    n_own: i64,
    /// The completions as segments, one per group.
    rows: Segments,
    n_rows: i64,
    /// `[n, 1, 1, l]` -inf where a prompt is padded; none when all are equally long.
    padding: Option<Tensor>,
    /// `[m, 1, l]` the same for each completion.
    padding_m1l: Option<Tensor>,
}

/// Runs the prompts through the network and keeps their keys and values.
pub(crate) struct Prefill<'a> {
    batch: &'a PackedBatch,
    prompts: Vec<KeysValues>,
}

impl<'a> Prefill<'a> {
    pub(crate) fn new(batch: &'a PackedBatch) -> Self {
        Self { batch, prompts: Vec::new() }
    }

    /// The cache, for `rows_n` completions of each prompt.
    pub(crate) fn into_cache(self, rows_n: &[i64]) -> KvCache {
        let mut cache = KvCache {
            prompts: self.prompts,
            own: Vec::new(),
            n_own: 0,
            rows: Segments::new(&[], Kind::Float, tch::Device::Cpu),
            n_rows: 0,
            padding: self.batch.prompts.mask().map(Tensor::shallow_clone),
            padding_m1l: None,
        };
        cache.set_rows(rows_n);
        cache
    }
}

impl AttentionPlan for Prefill<'_> {
    fn attend(&mut self, layer: usize, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor) -> Tensor {
        let padded = |x: &Tensor| self.batch.prompts.pad(x).contiguous();
        self.prompts.push(KeysValues { keys: padded(k_tkd), values: padded(v_tkd) });
        let mut plan = self.batch;
        plan.attend(layer, q_thd, k_tkd, v_tkd)
    }
}

impl KvCache {
    /// Keeps the completions `kept_m` (by their present places), `rows_n` of each of the groups `groups_n` (likewise).
    pub(crate) fn retain(&mut self, kept_m: &[i64], groups_n: &[i64], rows_n: &[i64]) {
        let device = self.prompts[0].keys.device();
        let kept = Tensor::from_slice(kept_m).to_device(device);
        let n_own = self.n_own;
        for layer in &mut self.own {
            // Only the places in use are copied.
            *layer = layer.map(|x| x.narrow(2, 0, n_own).index_select(0, &kept));
        }
        if groups_n.len() as i64 != self.prompts[0].keys.size()[0] {
            let groups = Tensor::from_slice(groups_n).to_device(device);
            for layer in &mut self.prompts {
                *layer = layer.map(|x| x.index_select(0, &groups));
            }
            self.padding = self.padding.as_ref().map(|x| x.index_select(0, &groups));
        }
        self.set_rows(rows_n);
    }

    /// Makes room for one more own token per completion. Call it before each step.
    pub(crate) fn reserve(&mut self) {
        let m = self.n_rows;
        let capacity = self.own.first().map_or(0, |layer| layer.keys.size()[2]);
        if self.n_own < capacity {
            return;
        }
        let capacity = (2 * capacity).max(FIRST_CAPACITY);
        let n_own = self.n_own;
        let grown = |old: Option<&Tensor>, like: &Tensor| {
            let (k, d) = (like.size()[1], like.size()[3]);
            let new = Tensor::empty([m, k, capacity, d], (like.kind(), like.device()));
            if let Some(old) = old {
                new.narrow(2, 0, n_own).copy_(&old.narrow(2, 0, n_own));
            }
            new
        };
        self.own = self
            .prompts
            .iter()
            .enumerate()
            .map(|(i, like)| KeysValues {
                keys: grown(self.own.get(i).map(|layer| &layer.keys), &like.keys),
                values: grown(self.own.get(i).map(|layer| &layer.values), &like.values),
            })
            .collect();
    }

    /// Counts the token that a step has written.
    pub(crate) fn advance(&mut self) {
        self.n_own += 1;
    }

    fn set_rows(&mut self, rows_n: &[i64]) {
        let like = &self.prompts[0].keys;
        self.rows = Segments::new(rows_n, like.kind(), like.device());
        self.n_rows = rows_n.iter().sum();
        self.padding_m1l = self.padding.as_ref().map(|padding| {
            let longest = self.rows.longest();
            let size = padding.size();
            self.rows.unpad(&padding.expand([size[0], 1, longest, size[3]], false))
        });
    }
}

/// One step: every completion's newest token attends to its prompt and to the completion so far, itself included.
impl AttentionPlan for KvCache {
    fn attend(&mut self, layer: usize, q_mhd: &Tensor, k_mkd: &Tensor, v_mkd: &Tensor) -> Tensor {
        let (prompt, own) = (&self.prompts[layer], &self.own[layer]);
        own.keys.select(2, self.n_own).copy_(k_mkd);
        own.values.select(2, self.n_own).copy_(v_mkd);
        let seen = |x: &Tensor| x.narrow(2, 0, self.n_own + 1);

        let size = q_mhd.size();
        let (m, h, d, k) = (size[0], size[1], size[2], k_mkd.size()[1]);
        let q_mhd = q_mhd * (1.0 / (d as f64).sqrt());
        let prompt_scores = self.over_prompts(&q_mhd, &prompt.keys.transpose(2, 3));
        let prompt_scores = match &self.padding_m1l {
            Some(padding) => prompt_scores + padding,
            None => prompt_scores,
        };
        let own_scores =
            q_mhd.view([m, k, h / k, d]).matmul(&seen(&own.keys).transpose(2, 3)).view([m, h, -1]);

        let n_prompt = prompt_scores.size()[2];
        let probs =
            Tensor::cat(&[prompt_scores, own_scores], 2).softmax(-1, Kind::Float).to_kind(q_mhd.kind());
        let prompt_out = self.over_prompts(&probs.narrow(2, 0, n_prompt), &prompt.values);
        let own_probs = probs.narrow(2, n_prompt, self.n_own + 1).reshape([m, k, h / k, -1]);
        prompt_out + own_probs.matmul(&seen(&own.values)).view([m, h, d])
    }
}

impl KvCache {
    /// Rows `[m, h, x]` times their own prompt's `[k, x, y]` of `right_nkxy`: `[m, h, y]`. One product per group and
    /// key/value head, over all completions of the group and all heads that share it.
    fn over_prompts(&self, left_mhx: &Tensor, right_nkxy: &Tensor) -> Tensor {
        let (n, k) = (right_nkxy.size()[0], right_nkxy.size()[1]);
        let left_nhsx = self.rows.pad(left_mhx);
        let (h, s) = (left_nhsx.size()[1], left_nhsx.size()[2]);
        let product = left_nhsx.reshape([n, k, h / k * s, -1]).matmul(right_nkxy);
        self.rows.unpad(&product.view([n, h, s, -1]))
    }
}
