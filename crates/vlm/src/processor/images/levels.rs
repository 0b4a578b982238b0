//! 8-bit levels to the numbers that a tower reads.

use serde::Deserialize;
use tch::{Kind, TchError, Tensor};

/// Scale, mean and deviation. Settings that a file leaves out are the family's own, so there are no defaults here.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Levels {
    rescale_factor: Option<f64>,
    mean_and_std: Option<[[f64; 3]; 2]>,
    order: Order,
}

/// In which order the reference computes, which decides the last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Mean and deviation are scaled to levels first (torchvision's backend).
    Fused,
    /// Levels are scaled, in double precision, then normed (the backend of Pillow and numpy).
    Stepwise,
}

/// As they stand in the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct StoredLevels {
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
}

impl StoredLevels {
    /// With a family's own mean and deviation where the file has none.
    pub(super) fn levels(&self, mean_and_std: [[f64; 3]; 2], order: Order) -> Result<Levels, String> {
        let [mean, std] = mean_and_std;
        let (mean, std) = (self.image_mean.unwrap_or(mean), self.image_std.unwrap_or(std));
        if !std.iter().all(|&std| std > 0.0) {
            return Err("image_std must be positive".into());
        }
        Ok(Levels {
            rescale_factor: self
                .do_rescale
                .unwrap_or(true)
                .then(|| self.rescale_factor.unwrap_or(1.0 / 255.0)),
            mean_and_std: self.do_normalize.unwrap_or(true).then_some([mean, std]),
            order,
        })
    }
}

impl Levels {
    /// Levels `[3, h, w]` to fp32.
    pub(super) fn normalize(&self, levels_chw: &Tensor) -> Result<Tensor, TchError> {
        let per_channel = |values: [f64; 3], scale: f64| {
            // The reference multiplies an fp32 tensor by a number, which fp32 arithmetic must repeat to be equal.
            Tensor::from_slice(&values.map(|v| v as f32)).f_mul_scalar(scale)?.f_view([3, 1, 1])
        };
        let (scale, scaled) = match (self.rescale_factor, self.order) {
            (Some(factor), Order::Fused) if self.mean_and_std.is_some() => {
                (1.0 / factor, levels_chw.f_to_kind(Kind::Float)?)
            }
            (Some(factor), Order::Fused) => (1.0, levels_chw.f_to_kind(Kind::Float)?.f_mul_scalar(factor)?),
            (Some(factor), Order::Stepwise) => {
                (1.0, levels_chw.f_to_kind(Kind::Double)?.f_mul_scalar(factor)?.f_to_kind(Kind::Float)?)
            }
            (None, _) => (1.0, levels_chw.f_to_kind(Kind::Float)?),
        };
        match self.mean_and_std {
            Some([mean, std]) => scaled.f_sub(&per_channel(mean, scale)?)?.f_div(&per_channel(std, scale)?),
            None => Ok(scaled),
        }
    }
}
