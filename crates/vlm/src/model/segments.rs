//! Attention within segments of a packed sequence (images, windows, prompts).
//!
//! Linear layers never see padding. Only here are segments laid side by side, `[segment, head, longest, d]`, for one
//! attention call; equal segments need neither padding nor mask.
//!
//! Axes in tensor names: t packed token, s segment, l place in segment, h head, d width.

use tch::{Device, Kind, Tensor};

/// Segments of a packed sequence, one after another.
#[derive(Debug)]
pub struct Segments {
    n: i64,
    longest: i64,
    uneven: Option<Uneven>,
}

#[derive(Debug)]
struct Uneven {
    /// `[s * longest]` packed token of each place; padding points at token 0.
    gather: Tensor,
    /// `[t]` place of each packed token.
    scatter: Tensor,
    /// `[s, 1, 1, longest]` 0 where there is a token, -inf where there is padding.
    mask: Tensor,
}

impl Segments {
    /// Segments of the given lengths.
    pub fn new(lengths: &[i64], kind: Kind, device: Device) -> Self {
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
    pub fn n(&self) -> i64 {
        self.n
    }

    /// Length of the longest segment.
    pub fn longest(&self) -> i64 {
        self.longest
    }

    /// `[s, 1, 1, longest]` 0 where there is a token, -inf where there is padding; none when all are equally long.
    pub fn mask(&self) -> Option<&Tensor> {
        self.uneven.as_ref().map(|u| &u.mask)
    }

    /// Packed `[t, h, d]` to padded `[s, h, longest, d]`.
    pub fn pad(&self, x_thd: &Tensor) -> Tensor {
        let size = x_thd.size();
        let rows = match &self.uneven {
            None => x_thd.shallow_clone(),
            Some(u) => x_thd.index_select(0, &u.gather),
        };
        rows.view([self.n, self.longest, size[1], size[2]]).transpose(1, 2)
    }

    /// Padded `[s, h, longest, d]` to packed `[t, h, d]`.
    pub fn unpad(&self, x_shld: &Tensor) -> Tensor {
        let rows = x_shld.transpose(1, 2).flatten(0, 1);
        match &self.uneven {
            None => rows,
            Some(u) => rows.index_select(0, &u.scatter),
        }
    }

    /// Attention of every token to the tokens of its segment, or to those up to itself when `causal`.
    /// Key and value heads are shared by equal groups of query heads.
    pub fn attend(&self, q_thd: &Tensor, k_thd: &Tensor, v_thd: &Tensor, causal: bool) -> Tensor {
        let q = self.pad(q_thd);
        // Padding is on the right, so a causal query never sees it.
        let mask = self.mask().filter(|_| !causal);
        self.unpad(&scaled_dot_product(&q, &self.pad(k_thd), &self.pad(v_thd), mask, causal))
    }
}

/// `softmax(q k^T / sqrt(d) + mask) v` over `[s, heads, l, d]`; key and value heads are shared by equal groups of query
/// heads. The mask is added to the scores, in the type of `q`: made once per batch, not per layer.
pub fn scaled_dot_product(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, causal: bool) -> Tensor {
    let repeat = q.size()[1] / k.size()[1];
    let (k, v) = (repeat_heads(k, repeat), repeat_heads(v, repeat));
    Tensor::scaled_dot_product_attention(q, &k, &v, mask, 0.0, causal, None, false)
}

fn repeat_heads(x_shld: &Tensor, repeat: i64) -> Tensor {
    if repeat == 1 { x_shld.shallow_clone() } else { x_shld.repeat_interleave_self_int(repeat, 1, None) }
}
