//! DRIFT: the way from a base model to one that reasons, added to the gradient.

use std::collections::BTreeMap;

use reft_config::{DriftConfig, DriftScale};
use reft_core::StageError;
use reft_vlm::{Vlm, checkpoint::CheckpointFolder};
use tch::{Kind, Tensor, no_grad};

use super::{GradientTransform, is_of_layers, learns_itself};

/// `g + alpha s(g, D)` for every parameter of the decoder's layers, with `D = reason - base` (DRIFT, arXiv 2510.15050): a
/// language model of the same shape that reasons, less the model it was made from. With `alpha = -1` a descent also goes
/// the way `D`.
///
/// Keeps `D` in memory, in the number type of the model: as much as the decoder's layers.
pub struct Drift {
    config: DriftConfig,
    /// `D` by parameter.
    direction: BTreeMap<String, Tensor>,
}

impl Drift {
    /// A transform that reads its direction when the phase begins.
    pub fn new(config: DriftConfig) -> Self {
        Self { config, direction: BTreeMap::new() }
    }
}

impl GradientTransform for Drift {
    fn name(&self) -> &'static str {
        "drift"
    }

    fn begin(&mut self, policy: &Vlm) -> Result<(), StageError> {
        learns_itself(policy, self.name())?;
        let params: Vec<_> =
            policy.learned().params().iter().filter(|p| is_of_layers(&p.spec.name)).collect();
        let read = |dir: &std::path::Path| -> Result<Vec<Tensor>, StageError> {
            let error = |e| StageError::other("the direction of `drift`", e);
            let folder = CheckpointFolder::open(dir).map_err(error)?;
            let targets: Vec<Tensor> = params.iter().map(|p| p.tensor.detach().zeros_like()).collect();
            let named: Vec<_> = params.iter().map(|p| p.spec.name.as_str()).zip(&targets).collect();
            // Embedding, head and whatever else a language model has beside its layers.
            let others: Vec<&str> = folder.names().filter(|name| !is_of_layers(name)).collect();
            folder.read_into(&named, &others).map_err(error)?;
            Ok(targets)
        };
        let (reason, base) = (read(&self.config.reason)?, read(&self.config.base)?);
        let difference = |(reason, base): (Tensor, Tensor)| no_grad(|| reason - base);
        let names = params.iter().map(|param| param.spec.name.clone());
        self.direction = names.zip(reason.into_iter().zip(base).map(difference)).collect();
        Ok(())
    }

    fn transform(&mut self, policy: &Vlm, _update: u64) -> Result<(), StageError> {
        let store = policy.learned();
        for param in store.params() {
            let mut gradient = store.grad(param);
            let Some(direction) = self.direction.get(&param.spec.name).filter(|_| gradient.defined()) else {
                continue;
            };
            let _ = gradient.g_add_(&(direction * factor(&self.config, &gradient, direction)));
        }
        Ok(())
    }
}

/// What a parameter's direction is multiplied with.
fn factor(config: &DriftConfig, gradient: &Tensor, direction: &Tensor) -> f64 {
    let float = |x: &Tensor| x.to_kind(Kind::Float).flatten(0, -1);
    let norm = |x: &Tensor| float(x).square().sum(Kind::Double).sqrt().double_value(&[]);
    let (g, d) = (norm(gradient), norm(direction));
    let length = if d > 0.0 { g / d } else { 0.0 };
    config.alpha
        * match config.scale {
            DriftScale::Plain => 1.0,
            DriftScale::Norm => length,
            DriftScale::Aligned => {
                let dot = (float(gradient) * float(direction)).sum(Kind::Double).double_value(&[]);
                let cosine = if g * d > 0.0 { dot / (g * d) } else { 0.0 };
                length * (1.0 + cosine) / 2.0
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradient (3, 4) and direction (0, 2): norms 5 and 2, cosine 0.8.
    #[test]
    fn factors_by_hand() {
        let (gradient, direction) =
            (Tensor::from_slice(&[3.0_f32, 4.0]), Tensor::from_slice(&[0.0_f32, 2.0]));
        for (scale, expected) in
            [(DriftScale::Plain, -1.0), (DriftScale::Norm, -2.5), (DriftScale::Aligned, -2.25)]
        {
            let config = DriftConfig { reason: "r".into(), base: "b".into(), alpha: -1.0, scale };
            let found = factor(&config, &gradient, &direction);
            assert!((found - expected).abs() < 1e-9, "{scale:?}: {found}");
        }
    }
}
