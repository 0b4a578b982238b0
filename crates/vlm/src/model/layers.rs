//! Linear, RMS norm and rotary embedding: the pieces that tower and decoder share.
//!
//! Axes in tensor names: t token, h head, d width.

use tch::{Device, Kind, Tensor};

use super::params::ParamSource;

/// `y = x W^T + b`, weights as in the checkpoint: `[out, in]`.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(source: &mut dyn ParamSource, name: &str, input: i64, output: i64) -> Self {
        Self { weight: source.param(format!("{name}.weight"), &[output, input]), bias: None }
    }

    pub(super) fn with_bias(source: &mut dyn ParamSource, name: &str, input: i64, output: i64) -> Self {
        let weight = source.param(format!("{name}.weight"), &[output, input]);
        Self { weight, bias: Some(source.param(format!("{name}.bias"), &[output])) }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight`, in fp32 whatever the weights are (Zhang & Sennrich 2019).
pub(super) struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    pub(super) fn new(source: &mut dyn ParamSource, name: &str, width: i64, eps: f64) -> Self {
        Self { weight: source.param(format!("{name}.weight"), &[width]), eps }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let kind = x.kind();
        let x = x.to_kind(Kind::Float);
        let scale = x.square().mean_dim(-1, true, None).g_add_scalar(self.eps).rsqrt();
        (x * scale).to_kind(kind) * &self.weight
    }
}

/// `[n]` frequencies `base^(-i / n)`.
pub(super) fn rotary_frequencies(base: f64, n: i64, device: Device) -> Tensor {
    let frequencies: Vec<f32> = (0..n).map(|i| 1.0 / (base as f32).powf(i as f32 / n as f32)).collect();
    Tensor::from_slice(&frequencies).to_device(device)
}

/// Cosines and sines `[t, 1, d]` of the rotary angles `[t, d/2]`, each angle used for two halves of a head.
pub(super) struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    pub(super) fn from_angles(angles_td: &Tensor, kind: Kind) -> Self {
        let angles = Tensor::cat(&[angles_td, angles_td], -1).unsqueeze(1);
        Self { cos: angles.cos().to_kind(kind), sin: angles.sin().to_kind(kind) }
    }

    /// Turns `x_thd` by the angles of its tokens (Su et al. 2021, in the half-split layout of the checkpoints).
    pub(super) fn apply(&self, x_thd: &Tensor) -> Tensor {
        let half = x_thd.size()[2] / 2;
        let (left, right) = (x_thd.narrow(2, 0, half), x_thd.narrow(2, half, half));
        let turned = Tensor::cat(&[-right, left], 2);
        x_thd * &self.cos + turned * &self.sin
    }
}
