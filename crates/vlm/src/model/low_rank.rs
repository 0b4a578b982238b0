//! The low-rank update of a linear layer (Hu et al. 2021, arXiv 2106.09685, section 4.1).
//!
//! Axes in tensor names: t token, r rank.

use reft_autograd::numbers;
use reft_core::Seed;
use tch::Tensor;

use super::random::random_bits;

/// `scale B A dropout(x)`, in the number type of `A` and `B`: fp32, as PEFT keeps them.
pub struct LowRank {
    /// `[rank, input]`.
    pub a: Tensor,
    /// `[output, rank]`.
    pub b: Tensor,
    /// Factor of the update.
    pub scale: f64,
    /// Probability that an input is left out, and the key that decides which.
    pub dropout: Option<(f64, Seed)>,
}

impl LowRank {
    /// What is added to the layer's output `y`, which stays in its number type.
    pub(super) fn add_to(&self, y: &Tensor, x: &Tensor) -> Tensor {
        let mut x = x.to_kind(self.a.kind());
        if let Some((rate, seed)) = self.dropout {
            x = &x * kept(seed, rate, &x);
        }
        let low_tr = x.linear::<Tensor>(&self.a, None) * self.scale;
        (y + low_tr.linear::<Tensor>(&self.b, None)).to_kind(y.kind())
    }

    /// Its numbers, fp32 on the CPU, as an update of the outputs from `first` on; none when inputs are dropped.
    ///
    /// # Safety
    ///
    /// Nobody writes to them meanwhile.
    #[expect(unsafe_code, reason = "parameters share their memory with other handles")]
    pub(super) unsafe fn for_kernels(&self, first: usize) -> Option<reft_kernels::LowRank<'_>> {
        if self.dropout.is_some() {
            return None;
        }
        // SAFETY: promised by the caller.
        let (a, b) = unsafe { (numbers(&self.a), numbers(&self.b)) };
        Some(reft_kernels::LowRank { first, a, b, rank: self.a.size()[0] as usize, scale: self.scale as f32 })
    }
}

/// In the shape of `x`: 0 with probability `rate` (to 16 bits), else what keeps the mean at 1. The same seed gives the same
/// numbers, so a layer that is run again for its backward pass drops the same inputs.
fn kept(seed: Seed, rate: f64, x: &Tensor) -> Tensor {
    const RANGE: f64 = 65_536.0;
    let threshold = (rate * RANGE).round().min(RANGE - 1.0);
    let bits = random_bits(0, x.numel() as i64, seed, x.device());
    let kept = bits.ge(threshold).to_kind(x.kind()) * (RANGE / (RANGE - threshold));
    kept.view(x.size().as_slice())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_product_by_hand() {
        let x = Tensor::from_slice(&[1.0_f32, 2.0]).view([1, 2]);
        let y = Tensor::from_slice(&[10.0_f32, 20.0, 30.0]).view([1, 3]);
        let update = LowRank {
            a: Tensor::from_slice(&[3.0_f32, 4.0]).view([1, 2]),
            b: Tensor::from_slice(&[1.0_f32, -1.0, 0.5]).view([3, 1]),
            scale: 2.0,
            dropout: None,
        };
        // A x = 11, scaled 22.
        assert_eq!(Vec::<f32>::try_from(update.add_to(&y, &x).flatten(0, -1)).unwrap(), [32.0, -2.0, 41.0]);
        let half = update.add_to(&y.to_kind(Kind::BFloat16), &x.to_kind(Kind::BFloat16));
        assert_eq!(half.kind(), Kind::BFloat16);
    }

    #[test]
    fn dropout_keeps_the_mean_and_belongs_to_its_place() {
        let x = Tensor::ones([100, 1000], (Kind::Float, Device::Cpu));
        let mask = kept(Seed::new(1), 0.25, &x);
        assert!(mask.equal(&kept(Seed::new(1), 0.25, &x)));
        assert!(!mask.equal(&kept(Seed::new(2), 0.25, &x)));
        let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        // Standard deviation 0.0014.
        assert!((dropped - 0.25).abs() < 0.007, "{dropped}");
        assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.01);
    }
}
