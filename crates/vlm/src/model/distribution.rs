//! How logits are read: the distribution that a rollout drew from, which a trainer must not leave.
//!
//! Axes in tensor names: c predicted token, v vocabulary.

use std::ops::Range;

use reft_core::{Limit, Support};
use tch::{Device, Kind, Tensor};

/// The distribution that logits are read as, as in sampling: `softmax((logits + allowed) / temperature)` over the tokens
/// that could be drawn.
#[derive(Clone, Copy)]
pub struct Distribution<'a> {
    /// `[v]` 0, or -inf for tokens that the policy never writes.
    pub allowed_v: &'a Tensor,
    /// Softmax temperature, above 0.
    pub temperature: f64,
    /// `[c]` what each token was drawn from; none where all that the policy may write was within reach.
    pub support: Option<&'a Support>,
}

impl<'a> Distribution<'a> {
    /// All that the policy may write, at temperature 1.
    pub fn whole(allowed_v: &'a Tensor) -> Self {
        Self { allowed_v, temperature: 1.0, support: None }
    }

    /// `[c, v]` log-probabilities of the tokens `range`, from their logits `[c, v]`.
    pub fn log_softmax(&self, logits_cv: &Tensor, range: &Range<i64>) -> Tensor {
        let logits_cv = (logits_cv + self.allowed_v) / self.temperature;
        let logits_cv = match self.support {
            Some(support) => {
                let dropped_cv = dropped(support, range, logits_cv.size()[1], logits_cv.device());
                logits_cv.masked_fill(&dropped_cv, f64::NEG_INFINITY)
            }
            None => logits_cv,
        };
        logits_cv.log_softmax(-1, Kind::Float)
    }
}

/// `[c, v]` whether a token of the vocabulary was out of reach, for the completion tokens `range`.
fn dropped(support: &Support, range: &Range<i64>, v: i64, device: Device) -> Tensor {
    let n = range.end - range.start;
    // Rows of which few tokens were within reach, those tokens, and the few that were not in other rows.
    let (mut rows, mut kept, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..n {
        let indices = |ids: &[u32]| ids.iter().map(|&id| row * v + i64::from(id)).collect::<Vec<_>>();
        match support.get((range.start + row) as usize) {
            Limit::Kept(ids) => {
                rows.push(row);
                kept.extend(indices(ids));
            }
            Limit::Dropped(ids) => dropped.extend(indices(ids)),
        }
    }
    let fill = |mask: &Tensor, index: &[i64], value: i64| {
        let _ = mask.shallow_clone().index_fill_(0, &Tensor::from_slice(index).to_device(device), value);
    };
    let mask = Tensor::zeros([n, v], (Kind::Bool, device));
    fill(&mask, &rows, 1);
    let flat = mask.view(-1);
    fill(&flat, &kept, 0);
    fill(&flat, &dropped, 1);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_by_hand() {
        let mut support = Support::whole(1);
        support.push(Limit::Kept(&[0, 3]));
        support.push(Limit::Dropped(&[2]));
        let mask = |range| {
            let mask = dropped(&support, &range, 4, Device::Cpu).to_kind(Kind::Int64).view(-1);
            Vec::<i64>::try_from(mask).unwrap_or_default()
        };
        assert_eq!(mask(0..3), [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0]);
        assert_eq!(mask(2..3), [0, 0, 1, 0]);
    }
}
