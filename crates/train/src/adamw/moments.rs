//! A moment of AdamW: fp32, or one byte per value.
//!
//! Bytes follow Dettmers et al. 2022 (arXiv 2110.02861, section 2): blocks of values are divided by their largest
//! magnitude, and each value takes the nearest of 256 numbers (`dynamic_map.rs`).

use std::ops::Range;

use reft_config::MomentsConfig;
use tch::{Device, Kind, Tensor};

use super::dynamic_map::dynamic_map;

/// Values that share a scale.
pub(super) const BLOCK: i64 = 256;

/// Whether values may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The first moment.
    Signed,
    /// The second moment.
    Positive,
}

/// What the numbers of a tensor belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OneFor {
    /// There is one for each value.
    Value,
    /// There is one for each block of values.
    Block,
}

/// The moment of every value of a buffer.
pub(super) enum Moment {
    Full(Tensor),
    Quantised(Quantised),
}

impl Moment {
    /// Zeros for `n` values.
    pub(super) fn zeros(config: MomentsConfig, sign: Sign, n: i64, device: Device) -> Self {
        match config {
            MomentsConfig::Fp32 => Self::Full(Tensor::zeros([n], (Kind::Float, device))),
            MomentsConfig::Int8 => {
                let map = Tensor::from_slice(&dynamic_map(sign == Sign::Signed)).to_device(device);
                let mut quantised = Quantised {
                    codes: Tensor::zeros([n], (Kind::Uint8, device)),
                    scales: Tensor::zeros(
                        [n.unsigned_abs().div_ceil(BLOCK as u64) as i64],
                        (Kind::Float, device),
                    ),
                    between: (map.narrow(0, 0, 255) + map.narrow(0, 1, 255)) / 2.0,
                    map,
                };
                quantised.write(&(0..n), &Tensor::zeros([n], (Kind::Float, device)));
                Self::Quantised(quantised)
            }
        }
    }

    /// The values of a piece in fp32; of a full moment, the values themselves.
    pub(super) fn read(&self, piece: &Range<i64>) -> Tensor {
        match self {
            Self::Full(values) => part(values, piece),
            Self::Quantised(quantised) => quantised.read(piece),
        }
    }

    /// Keeps the changed values of a piece that [`Moment::read`] gave; a piece starts at a block.
    pub(super) fn write(&mut self, piece: &Range<i64>, values: &Tensor) {
        match self {
            Self::Full(_) => {}
            Self::Quantised(quantised) => quantised.write(piece, values),
        }
    }

    /// Everything that a checkpoint must hold, with the ends of their names.
    pub(super) fn tensors(&self) -> Vec<(&'static str, OneFor, &Tensor)> {
        match self {
            Self::Full(values) => vec![("", OneFor::Value, values)],
            Self::Quantised(Quantised { codes, scales, .. }) => {
                vec![(".codes", OneFor::Value, codes), (".scales", OneFor::Block, scales)]
            }
        }
    }
}

/// One byte per value and one scale per block.
pub(super) struct Quantised {
    codes: Tensor,
    scales: Tensor,
    /// `[256]` what the codes mean, ascending.
    map: Tensor,
    /// `[255]` halfway between neighbours.
    between: Tensor,
}

impl Quantised {
    fn read(&self, piece: &Range<i64>) -> Tensor {
        let values = self.map.index_select(0, &part(&self.codes, piece).to_kind(Kind::Int));
        let n = values.size()[0];
        blocks(&values)
            .g_mul(&part(&self.scales, &scales_of(piece)).unsqueeze(1))
            .flatten(0, -1)
            .narrow(0, 0, n)
    }

    fn write(&mut self, piece: &Range<i64>, values: &Tensor) {
        let rows = blocks(values);
        let scales = rows.abs().amax([1], false);
        // A block of zeros has scale 0; dividing by the smallest normal number keeps it zero.
        let unit = rows / scales.clamp_min(f64::from(f32::MIN_POSITIVE)).unsqueeze(1);
        let codes = unit.flatten(0, -1).bucketize(&self.between, true, false).to_kind(Kind::Uint8);
        part(&self.codes, piece).copy_(&codes.narrow(0, 0, values.size()[0]));
        part(&self.scales, &scales_of(piece)).copy_(&scales);
    }
}

fn part(x: &Tensor, range: &Range<i64>) -> Tensor {
    x.narrow(0, range.start, range.end - range.start)
}

/// The scales of a piece.
fn scales_of(piece: &Range<i64>) -> Range<i64> {
    piece.start / BLOCK..piece.end.unsigned_abs().div_ceil(BLOCK as u64) as i64
}

/// `[blocks, BLOCK]`, the last one filled up with zeros.
fn blocks(values: &Tensor) -> Tensor {
    let missing = -values.size()[0].rem_euclid(BLOCK) + BLOCK;
    values.constant_pad_nd([0, missing % BLOCK]).view([-1, BLOCK])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_near_the_values() {
        let n = 600;
        let x = Tensor::arange(n, (Kind::Float, Device::Cpu));
        let signed = (&x * 0.7).sin() * (&x * -0.01).exp();
        for (sign, values) in [(Sign::Signed, signed.shallow_clone()), (Sign::Positive, signed.square())] {
            let mut moment = Moment::zeros(MomentsConfig::Int8, sign, n, Device::Cpu);
            assert_eq!(moment.read(&(0..n)).abs().max().double_value(&[]), 0.0, "zeros stay zeros");
            moment.write(&(0..n), &values);
            let back = moment.read(&(0..n));
            // Half a step of the map: 0.9 / 64 / 2 of the block's largest, 0.009 / 16 / 2 for values below a hundredth.
            for first in (0..n).step_by(256) {
                let length = 256.min(n - first);
                let (v, b) = (values.narrow(0, first, length), back.narrow(0, first, length));
                let largest = v.abs().max();
                let off = (&v - b).abs() / &largest;
                let small = v.abs().lt_tensor(&(&largest * 0.01));
                let bound = off.full_like(2.9e-4).where_self(&small, &off.full_like(7.1e-3));
                assert!(bool::try_from(off.le_tensor(&bound).all()).unwrap(), "{sign:?} from {first}");
            }
        }
    }
}
