//! Attention of packed tokens in one padded call: what a GPU computes.
//!
//! Linear layers never see padding. Only here are segments laid side by side, `[segment, head, longest, d]`; equal
//! segments need neither padding nor mask.
//!
//! Axes in tensor names: t packed token, s segment, m completion, l position in a segment, n position in a prompt,
//! h head, d width.

use tch::{Device, Kind, Tensor};

/// Segments of a packed sequence, one after another.
pub(super) struct PaddedSegments {
    n: i64,
    longest: i64,
    uneven: Option<Uneven>,
}

struct Uneven {
    /// `[s * longest]` packed token of each position; padding points at token 0.
    gather: Tensor,
    /// `[t]` where each packed token lies among the padded.
    scatter: Tensor,
    /// `[s, 1, 1, longest]` 0 where there is a token, -inf where there is padding.
    mask: Tensor,
}

impl PaddedSegments {
    /// Segments of the given lengths.
    pub(super) fn new(lengths: &[i64], kind: Kind, device: Device) -> Self {
        let (n, longest) = (lengths.len() as i64, lengths.iter().copied().max().unwrap_or(0));
        if lengths.iter().all(|&l| l == longest) {
            return Self { n, longest, uneven: None };
        }
        let (mut gather, mut scatter, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (s, &length) in lengths.iter().enumerate() {
            for l in 0..longest {
                gather.push(if l < length { first + l } else { 0 });
                mask.push(if l < length { 0.0_f32 } else { f32::NEG_INFINITY });
            }
            scatter.extend((0..length).map(|l| s as i64 * longest + l));
            first += length;
        }
        let uneven = Uneven {
            gather: Tensor::from_slice(&gather).to_device(device),
            scatter: Tensor::from_slice(&scatter).to_device(device),
            mask: Tensor::from_slice(&mask).view([n, 1, 1, longest]).to_kind(kind).to_device(device),
        };
        Self { n, longest, uneven: Some(uneven) }
    }

    /// Number of segments.
    fn n(&self) -> i64 {
        self.n
    }

    /// Length of the longest segment.
    fn longest(&self) -> i64 {
        self.longest
    }

    /// `[s, 1, 1, longest]` 0 where there is a token, -inf where there is padding; none when all are equally long.
    fn mask(&self) -> Option<&Tensor> {
        self.uneven.as_ref().map(|u| &u.mask)
    }

    /// Packed `[t, h, d]` to padded `[s, h, longest, d]`.
    fn pad(&self, x_thd: &Tensor) -> Tensor {
        let size = x_thd.size();
        let rows = match &self.uneven {
            None => x_thd.shallow_clone(),
            Some(u) => x_thd.index_select(0, &u.gather),
        };
        rows.view([self.n, self.longest, size[1], size[2]]).transpose(1, 2)
    }

    /// Padded `[s, h, longest, d]` to packed `[t, h, d]`.
    fn unpad(&self, x_shld: &Tensor) -> Tensor {
        let rows = x_shld.transpose(1, 2).flatten(0, 1);
        match &self.uneven {
            None => rows,
            Some(u) => rows.index_select(0, &u.scatter),
        }
    }

    /// Attention of every token to the tokens of its segment, or to those up to itself when `causal`.
    /// Key and value heads are shared by equal groups of query heads.
    pub(super) fn attend(&self, q_thd: &Tensor, k_thd: &Tensor, v_thd: &Tensor, causal: bool) -> Tensor {
        let q = self.pad(q_thd);
        // Padding is on the right, so a causal query never sees it.
        let mask = self.mask().filter(|_| !causal);
        self.unpad(&scaled_dot_product(&q, &self.pad(k_thd), &self.pad(v_thd), mask, causal))
    }
}

/// The lengths of packed groups: all prompts, then all completions, group after group.
pub(super) struct GroupLengths<'a> {
    /// Tokens of each prompt.
    pub(super) prompts: &'a [i64],
    /// Fed tokens of each completion.
    pub(super) completions: &'a [i64],
    /// The prompt of each completion, never falling.
    pub(super) owners: &'a [usize],
}

/// Groups of a packed sequence: all prompts, then all completions.
pub(super) struct PaddedGroups {
    prompts: PaddedSegments,
    n_prompt_tokens: i64,
    /// None where no completion feeds a token.
    completions: Option<PaddedCompletions>,
}

struct PaddedCompletions {
    segments: PaddedSegments,
    /// `[m]` prompt of each completion.
    owner_m: Tensor,
    /// `[m, 1, l, n_longest + l]` what a completion's tokens see: its prompt and themselves causally.
    mask: Tensor,
}

impl PaddedGroups {
    /// Groups of the given lengths.
    pub(super) fn new(lengths: &GroupLengths<'_>, kind: Kind, device: Device) -> Self {
        Self {
            prompts: PaddedSegments::new(lengths.prompts, kind, device),
            n_prompt_tokens: lengths.prompts.iter().sum(),
            completions: (lengths.completions.iter().sum::<i64>() > 0)
                .then(|| PaddedCompletions::new(lengths, kind, device)),
        }
    }

    /// Attention of every prompt to itself and of every completion to its prompt and itself, causally.
    pub(super) fn attend(&self, q_thd: &Tensor, k_thd: &Tensor, v_thd: &Tensor) -> Tensor {
        let n = self.n_prompt_tokens;
        let of_prompts = |x: &Tensor| x.narrow(0, 0, n);
        let (q, k, v) = (of_prompts(q_thd), of_prompts(k_thd), of_prompts(v_thd));
        let prompts_out = self.prompts.attend(&q, &k, &v, true);
        let Some(completions) = &self.completions else { return prompts_out };

        let own = |x: &Tensor| completions.segments.pad(&x.narrow(0, n, x.size()[0] - n));
        let with_prompt = |prompt: &Tensor, x: &Tensor| {
            let prompt_of_m = self.prompts.pad(prompt).index_select(0, &completions.owner_m);
            Tensor::cat(&[prompt_of_m, own(x)], 2)
        };
        let (keys, values) = (with_prompt(&k, k_thd), with_prompt(&v, v_thd));
        let out = scaled_dot_product(&own(q_thd), &keys, &values, Some(&completions.mask), false);
        Tensor::cat(&[prompts_out, completions.segments.unpad(&out)], 0)
    }
}

impl PaddedCompletions {
    fn new(lengths: &GroupLengths<'_>, kind: Kind, device: Device) -> Self {
        let segments = PaddedSegments::new(lengths.completions, kind, device);
        let owners: Vec<i64> = lengths.owners.iter().map(|&n| n as i64).collect();
        let longest_prompt = lengths.prompts.iter().copied().max().unwrap_or(0);
        let l = segments.longest();
        let lengths_m: Vec<i64> = lengths.owners.iter().map(|&n| lengths.prompts[n]).collect();
        let prompt_seen = Tensor::arange(longest_prompt, (Kind::Int64, Device::Cpu))
            .view([1, 1, 1, -1])
            .lt_tensor(&Tensor::from_slice(&lengths_m).view([-1, 1, 1, 1]))
            .expand([segments.n(), 1, l, longest_prompt], false);
        let self_seen =
            Tensor::ones([l, l], (Kind::Bool, Device::Cpu)).tril(0).expand([segments.n(), 1, l, l], false);
        let seen = Tensor::cat(&[prompt_seen, self_seen], 3);
        let mask = Tensor::zeros(seen.size(), (kind, Device::Cpu))
            .masked_fill(&seen.logical_not(), f64::NEG_INFINITY);
        Self {
            segments,
            owner_m: Tensor::from_slice(&owners).to_device(device),
            mask: mask.to_device(device),
        }
    }
}

/// `softmax(q k^T / sqrt(d) + mask) v` over `[s, heads, l, d]`; key and value heads are shared by equal groups of query
/// heads. The mask is added to the scores, in the type of `q`: made once per batch, not per layer.
fn scaled_dot_product(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, causal: bool) -> Tensor {
    let repeat = q.size()[1] / k.size()[1];
    let (k, v) = (repeat_heads(k, repeat), repeat_heads(v, repeat));
    Tensor::scaled_dot_product_attention(q, &k, &v, mask, 0.0, causal, None, false)
}

fn repeat_heads(x_shld: &Tensor, repeat: i64) -> Tensor {
    if repeat == 1 { x_shld.shallow_clone() } else { x_shld.repeat_interleave_self_int(repeat, 1, None) }
}
