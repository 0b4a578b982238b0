//! Attention of packed tokens: within segments (images, windows, prompts), and of groups, whose completions see their
//! prompt and themselves.
//!
//! On the CPU every stretch of tokens that sees another is one call, and nothing is padded, masked or copied for each
//! completion ([`reft_autograd::attention`]). On a GPU, where many calls cost more than padding, stretches lie padded side
//! by side in one call (`padded.rs`).
//!
//! Axes in tensor names: t packed token, h query head, k key head, d width.

use std::sync::Arc;

use reft_autograd::{Look, attention};
use tch::{Device, Kind, Tensor};

use super::padded::{GroupLengths, PaddedGroups, PaddedSegments};

/// Which packed tokens attend to which.
pub(super) enum PackedAttention {
    Looks(Arc<[Look]>),
    PaddedSegments(PaddedSegments),
    PaddedGroups(PaddedGroups),
}

impl PackedAttention {
    /// Segments of the given lengths, one after another; every token sees those of its segment.
    pub(super) fn within(lengths: &[i64], kind: Kind, device: Device) -> Self {
        if device == Device::Cpu {
            return Self::Looks(stretches(lengths, 0, false).collect());
        }
        Self::PaddedSegments(PaddedSegments::new(lengths, kind, device))
    }

    /// Groups: a prompt's tokens see those up to themselves, a completion's also the whole of its prompt.
    pub(super) fn of_groups(lengths: &GroupLengths<'_>, kind: Kind, device: Device) -> Self {
        if device == Device::Cpu {
            return Self::Looks(looks_of_groups(lengths).into());
        }
        Self::PaddedGroups(PaddedGroups::new(lengths, kind, device))
    }

    /// Attention of queries `[t, h, d]` to keys and values `[t, k, d]`; every key head serves `h / k` query heads.
    pub(super) fn attend(&self, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor) -> Tensor {
        match self {
            Self::Looks(looks) => attention(q_thd, k_tkd, v_tkd, looks),
            Self::PaddedSegments(segments) => segments.attend(q_thd, k_tkd, v_tkd, false),
            Self::PaddedGroups(groups) => groups.attend(q_thd, k_tkd, v_tkd),
        }
    }
}

/// Stretches of the given lengths behind `first`, each looking at itself.
fn stretches(lengths: &[i64], first: i64, causal: bool) -> impl Iterator<Item = Look> {
    let mut end = first;
    lengths.iter().map(move |length| {
        let range = end..end + length;
        end = range.end;
        Look { queries: range.clone(), keys: range, causal }
    })
}

/// Prompts look at themselves, then all completions of a prompt at it side by side, then each completion at itself.
fn looks_of_groups(lengths: &GroupLengths<'_>) -> Vec<Look> {
    let prompts: Vec<Look> = stretches(lengths.prompts, 0, true).collect();
    let first = lengths.prompts.iter().sum();
    let own: Vec<Look> = stretches(lengths.completions, first, true).collect();
    let mut next = 0;
    let at_prompts = lengths.owners.chunk_by(|a, b| a == b).map(|group| {
        let own = &own[next..next + group.len()];
        next += group.len();
        let queries = own[0].queries.start..own[own.len() - 1].queries.end;
        Look { queries, keys: prompts[group[0]].keys.clone(), causal: false }
    });
    let at_prompts: Vec<Look> = at_prompts.collect();
    let all = prompts.iter().chain(&at_prompts).chain(&own);
    all.filter(|look| !look.queries.is_empty()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_look_at_their_prompt_and_then_each_completion_at_itself() {
        // Prompts of 3 and 2 tokens; the first has completions that feed 2 and 0 tokens, the second one of 1.
        let lengths = GroupLengths { prompts: &[3, 2], completions: &[2, 0, 1], owners: &[0, 0, 1] };
        let look = |queries, keys, causal| Look { queries, keys, causal };
        let want = [
            look(0..3, 0..3, true),
            look(3..5, 3..5, true),
            look(5..7, 0..3, false),
            look(7..8, 3..5, false),
            look(5..7, 5..7, true),
            look(7..8, 7..8, true),
        ];
        assert_eq!(looks_of_groups(&lengths), want);
    }

    /// Values and gradients of the stretches are those of the padded computation.
    #[test]
    fn looks_and_padding_agree() {
        let random = |shape: [i64; 3], seed: i64| {
            tch::manual_seed(seed);
            Tensor::randn(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
        };
        let lengths =
            GroupLengths { prompts: &[9, 4, 6], completions: &[3, 0, 5, 2, 2], owners: &[0, 0, 0, 2, 2] };
        let t = 19 + 12;
        let run = |way: &PackedAttention| {
            let (q, k, v) = (random([t, 6, 8], 1), random([t, 2, 8], 2), random([t, 2, 8], 3));
            let out = way.attend(&q, &k, &v);
            let grad = random([t, 6, 8], 4).detach();
            (&out * grad).sum(Kind::Double).backward();
            [out.detach(), q.grad(), k.grad(), v.grad()]
        };
        let close = |a: [Tensor; 4], b: [Tensor; 4]| {
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs().max().double_value(&[]) < 1e-12);
            }
        };
        let padded = PaddedGroups::new(&lengths, Kind::Double, Device::Cpu);
        let groups = PackedAttention::of_groups(&lengths, Kind::Double, Device::Cpu);
        close(run(&groups), run(&PackedAttention::PaddedGroups(padded)));

        let segments = [7, 20, 4];
        let padded = PaddedSegments::new(&segments, Kind::Double, Device::Cpu);
        let within = PackedAttention::within(&segments, Kind::Double, Device::Cpu);
        close(run(&within), run(&PackedAttention::PaddedSegments(padded)));
    }
}
