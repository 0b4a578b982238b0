//! Gradient transforms: what changes gradients between accumulation and norm. A stage that others can implement.

mod drift;
mod lift;
mod pcgrad;

use std::collections::BTreeMap;

use reft_config::{Between, GradientConfig};
use reft_core::{Seed, StageError};
use reft_vlm::{Vlm, model::BufferKey};
use tch::Tensor;

pub use self::{drift::Drift, lift::Lift, pcgrad::PcGrad};

/// Changes the gradients of an update before their norm is taken.
///
/// They lie in the flat buffers of `policy.learned()`: [`flat_grad`](reft_vlm::model::ParamStore::flat_grad) is that of a
/// buffer, [`grad`](reft_vlm::model::ParamStore::grad) that of a parameter, by name and in its shape; both are views, which
/// are written to in place.
pub trait GradientTransform: Send {
    /// A short name for messages and files.
    fn name(&self) -> &'static str;

    /// Called when a phase starts or resumes and the parts that learn are known; before [`GradientTransform::load`].
    fn begin(&mut self, _policy: &Vlm) -> Result<(), StageError> {
        Ok(())
    }

    /// What tells apart the parts of a batch whose gradients it wants one after another; none takes the batch as a whole.
    fn apart(&self) -> Option<Between> {
        None
    }

    /// Takes the gradients of one part of the batch, which are forgotten then. Called for every part, where
    /// [`GradientTransform::apart`] asks for parts.
    fn take_part(&mut self, _policy: &Vlm) {}

    /// Forgets the parts that it took: their update is left out.
    fn forget(&mut self) {}

    /// Changes the gradients of update `update` of the phase, counted from 0; of one that takes parts, writes
    /// what it makes of them. Called without a graph.
    fn transform(&mut self, policy: &Vlm, update: u64) -> Result<(), StageError>;

    /// `[n]` for a buffer: whether a weight may move, whatever moments say; none where all may.
    fn moves(&self, _key: BufferKey) -> Option<&Tensor> {
        None
    }

    /// What a checkpoint must hold, by name.
    fn save(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Restores it; `state` has the tensors by the names of [`GradientTransform::save`].
    fn load(&mut self, _state: &BTreeMap<String, Tensor>) -> Result<(), StageError> {
        Ok(())
    }
}

/// The transform that a phase asks for; `seed` is that of the phase.
pub fn gradient_transform(config: &GradientConfig, seed: Seed) -> Box<dyn GradientTransform> {
    match config {
        GradientConfig::Drift(config) => Box::new(Drift::new(config.clone())),
        GradientConfig::PcGrad(config) => Box::new(PcGrad::new(config.between, seed.at("pcgrad"))),
        GradientConfig::Lift(config) => Box::new(Lift::new(*config)),
    }
}

/// The parameters of the decoder's layers: attention, MLP and norms.
fn is_of_layers(name: &str) -> bool {
    name.starts_with("model.layers.")
}

/// A policy whose own weights learn.
fn learns_itself(policy: &Vlm, name: &str) -> Result<(), StageError> {
    if policy.lora().is_none() {
        return Ok(());
    }
    let message = "works on the weights of the model itself, and this policy learns an adapter; leave `model.lora` or \
                   `gradient` out";
    Err(StageError::other(format!("gradient transform `{name}`"), message))
}
