//! How weights take an update that is smaller than their last bit.

use std::ops::Range;

use reft_config::SmallWeights;
use reft_core::Seed;
use reft_vlm::model::random_bits;
use tch::{Kind, Tensor};

/// What is kept beside a buffer of weights.
pub(super) enum LowBits {
    /// Nothing: the weights are fp32.
    None,
    /// An fp32 copy, which is what learns.
    Master(Tensor),
    /// What rounding has left out so far, in the type of the weights.
    Kahan(Tensor),
    /// Nothing: rounding up and down evens out. For bf16.
    Stochastic,
}

impl LowBits {
    pub(super) fn new(config: SmallWeights, weights: &Tensor) -> Self {
        match config {
            _ if weights.kind() == Kind::Float => Self::None,
            SmallWeights::Master => Self::Master(weights.to_kind(Kind::Float)),
            SmallWeights::Kahan => Self::Kahan(weights.zeros_like()),
            SmallWeights::Stochastic => Self::Stochastic,
        }
    }

    /// `weights = decay * weights + change` for a piece of a buffer, which lies in what is kept at `own` and begins in the
    /// buffer at `first`; `seed` is that of the update and the buffer.
    pub(super) fn add(
        &mut self,
        weights: &mut Tensor,
        (own, first): (&Range<i64>, i64),
        decay: f64,
        change: &Tensor,
        seed: Seed,
    ) {
        let part = |x: &Tensor| x.narrow(0, own.start, own.end - own.start);
        match self {
            Self::None => {
                let _ = weights.g_mul_scalar_(decay).g_add_(change);
            }
            Self::Master(master) => {
                let mut master = part(master);
                let _ = master.g_mul_scalar_(decay).g_add_(change);
                weights.copy_(&master);
            }
            Self::Kahan(left_out) => {
                let mut left_out = part(left_out);
                let exact = (weights.to_kind(Kind::Float) + &left_out) * decay + change;
                weights.copy_(&exact);
                left_out.copy_(&(exact - weights.to_kind(Kind::Float)));
            }
            Self::Stochastic => {
                let exact = weights.to_kind(Kind::Float) * decay + change;
                weights.copy_(&round_to_bf16(&exact, first, seed));
            }
        }
    }

    /// What a checkpoint must hold, with its name.
    pub(super) fn tensor(&self) -> Option<(&'static str, &Tensor)> {
        match self {
            Self::Master(master) => Some(("master", master)),
            Self::Kahan(left_out) => Some(("kahan", left_out)),
            Self::None | Self::Stochastic => None,
        }
    }
}

/// fp32 to the bf16 number above or below, in fp32, with the probabilities that keep the mean: a random number is added
/// to the 16 bits that are cut off. The number of a value depends on its index in the buffer, not on the pieces.
fn round_to_bf16(exact: &Tensor, first: i64, seed: Seed) -> Tensor {
    let noise = random_bits(first, exact.size()[0], seed, exact.device()).to_kind(Kind::Int);
    let bits = exact.view_dtype(Kind::Int) + noise;
    bits.bitwise_and(-0x1_0000).view_dtype(Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn values(x: &Tensor) -> Vec<f64> {
        x.to_kind(Kind::Double).try_into().unwrap()
    }

    /// A thousand updates of a hundredth of the last bit: lost by rounding, kept by each of the ways.
    #[test]
    fn small_updates_are_not_lost() {
        let start = Tensor::ones([64], (Kind::BFloat16, Device::Cpu));
        // The last bit of 1 in bf16 is 2^-7 = 0.0078.
        let change = Tensor::full([64], 1e-4, (Kind::Float, Device::Cpu));
        for config in [SmallWeights::Master, SmallWeights::Kahan, SmallWeights::Stochastic] {
            let (mut weights, mut low_bits) = (start.copy(), LowBits::new(config, &start));
            for update in 0..1000_u64 {
                low_bits.add(&mut weights, (&(0..64), 0), 1.0, &change, Seed::new(1).at(update));
            }
            let mean = weights.mean(Kind::Float).double_value(&[]);
            assert!((mean - 1.1).abs() < 0.01, "{config:?}: {mean}");
        }
        let mut plain = start.copy();
        for _ in 0..1000 {
            let _ = plain.g_add_(&change.to_kind(Kind::BFloat16));
        }
        assert_eq!(plain.mean(Kind::Float).double_value(&[]), 1.0);
    }

    #[test]
    fn rounding_keeps_the_mean_and_depends_on_the_place_alone() {
        let n = 1 << 16;
        for exact in [1.001_f32, -3.3e-5, 250.7] {
            let x = Tensor::full([n], f64::from(exact), (Kind::Float, Device::Cpu));
            let rounded = round_to_bf16(&x, 0, Seed::new(5));
            assert!(
                rounded.equal(&rounded.to_kind(Kind::BFloat16).to_kind(Kind::Float)),
                "these are bf16 numbers"
            );
            let mean = rounded.mean(Kind::Double).double_value(&[]);
            // A step of bf16 is at most 2^-7 of the value; the mean of n is 256 times more exact.
            assert!((mean / f64::from(exact) - 1.0).abs() < 5.0 * 0.0078 / 2.0 / 256.0, "{exact}: {mean}");
            let second_half = round_to_bf16(&x.narrow(0, n / 2, n / 2), n / 2, Seed::new(5));
            assert!(second_half.equal(&rounded.narrow(0, n / 2, n / 2)));
            assert!(!round_to_bf16(&x, 0, Seed::new(6)).equal(&rounded));
        }
        let exact = Tensor::from_slice(&[0.0_f32, 1.0, -0.5]);
        assert_eq!(values(&round_to_bf16(&exact, 7, Seed::new(1))), [0.0, 1.0, -0.5]);
    }
}
