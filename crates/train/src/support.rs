//! The record of a rollout as a mask.

use std::ops::Range;

use reft_core::{Limit, Support};
use tch::{Device, Kind, Tensor};

/// `[c, v]` whether a token of the vocabulary was out of reach, for the completion tokens `range`.
pub(crate) fn dropped(support: &Support, range: &Range<i64>, v: i64, device: Device) -> Tensor {
    let n = range.end - range.start;
    // Rows of which few tokens were within reach, those tokens, and the few that were not in other rows.
    let (mut rows, mut kept, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..n {
        let places = |ids: &[u32]| ids.iter().map(|&id| row * v + i64::from(id)).collect::<Vec<_>>();
        match support.get((range.start + row) as usize) {
            Limit::Kept(ids) => {
                rows.push(row);
                kept.extend(places(ids));
            }
            Limit::Dropped(ids) => dropped.extend(places(ids)),
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
