//! The policy that a KL penalty is measured against: frozen, or following the policy from a distance.

use std::path::Path;

use reft_config::{EmaConfig, GrpoPhase, ReferenceConfig};
use reft_core::StageError;
use reft_vlm::{
    FrozenNetwork, Vlm,
    checkpoint::{read_tensors, write_tensors},
    model::Network,
};
use tch::{Tensor, no_grad};

const FILE: &str = "reference.safetensors";

/// Frozen weights, and when they move.
pub(crate) struct Reference {
    network: FrozenNetwork,
    follows: Option<EmaConfig>,
}

impl Reference {
    /// The reference of a phase that starts from this policy; none when there is no penalty.
    pub(crate) fn new(phase: &GrpoPhase, policy: &Vlm) -> Result<Option<Self>, StageError> {
        if !phase.has_kl() {
            return Ok(None);
        }
        let (network, follows) = match phase.reference {
            ReferenceConfig::None => return Ok(None),
            ReferenceConfig::Phase => (policy.freeze(), None),
            ReferenceConfig::Run => (policy.freeze_start()?, None),
            ReferenceConfig::Ema(config) => (policy.freeze(), Some(config)),
        };
        Ok(Some(Self { network, follows }))
    }

    /// What it computes with.
    pub(crate) fn network(&self) -> &Network {
        self.network.network()
    }

    /// After step `step` (from 1) of the phase: `reference = (1 - mixup) reference + mixup policy` when it is time.
    pub(crate) fn follow(&mut self, policy: &Vlm, step: u64) {
        let Some(EmaConfig { mixup, .. }) = self.follows.filter(|ema| step.is_multiple_of(ema.every)) else {
            return;
        };
        let own = self.network.params().buffers().values();
        for (own, theirs) in own.zip(policy.learned().buffers().values()) {
            no_grad(|| {
                let _ = own.shallow_clone().lerp_(theirs, mixup);
            });
        }
    }

    /// Writes the weights into a checkpoint.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), StageError> {
        let params = self.network.params().params().iter();
        let tensors: Vec<(String, Tensor)> =
            params.map(|p| (p.spec.name.clone(), p.tensor.shallow_clone())).collect();
        write_tensors(&dir.join(FILE), &tensors).map_err(|e| StageError::other("saving the KL reference", e))
    }

    /// Restores them.
    pub(crate) fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        let path = dir.join(FILE);
        let tensors = read_tensors(&path).map_err(|e| StageError::other("restoring the KL reference", e))?;
        for param in self.network.params().params() {
            let name = &param.spec.name;
            let tensor = tensors.get(name).ok_or_else(|| StageError::State {
                stage: "KL reference",
                message: format!("`{}` has no `{name}`", path.display()),
            })?;
            param.tensor.shallow_clone().copy_(tensor);
        }
        Ok(())
    }
}
