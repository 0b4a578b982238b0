//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, on flat buffers, with state that can be saved.
//!
//! `m = b1 m + (1-b1) g`, `v = b2 v + (1-b2) g^2`,
//! `w = w (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.
//! Matrices decay, norms and biases do not. Weights in bf16 or fp16 have an fp32 master copy here, which is what learns.

use std::{collections::BTreeMap, path::Path};

use reft_config::{OptimizerConfig, TrainableConfig};
use reft_core::StageError;
use reft_vlm::{
    Vlm,
    checkpoint::{read_tensors, write_tensors},
    model::{BufferKey, PartOfModel},
};
use tch::{Kind, Tensor};

/// The optimizer of one phase.
pub struct AdamW {
    config: OptimizerConfig,
    trainable: TrainableConfig,
    updates: i64,
    moments: BTreeMap<BufferKey, Moments>,
}

struct Moments {
    mean: Tensor,
    square: Tensor,
    /// fp32 copy of weights that are kept in fewer bits.
    master: Option<Tensor>,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateStats {
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Whether the update was made: not when the gradient is not finite.
    pub applied: bool,
}

impl AdamW {
    /// An optimizer without moments yet.
    pub fn new(config: &OptimizerConfig, trainable: TrainableConfig) -> Self {
        Self { config: config.clone(), trainable, updates: 0, moments: BTreeMap::new() }
    }

    /// Marks the trainable parts of the policy and starts with zero moments.
    pub fn begin(&mut self, policy: &Vlm) {
        let trainable = self.trainable;
        policy.set_trainable(|part| learns(trainable, part));
        self.updates = 0;
        self.moments.clear();
        for (&key, weights) in policy.learned().buffers() {
            if learns(trainable, key.part) {
                let zeros = || Tensor::zeros(weights.size(), (Kind::Float, weights.device()));
                let master = (weights.kind() != Kind::Float).then(|| weights.to_kind(Kind::Float));
                self.moments.insert(key, Moments { mean: zeros(), square: zeros(), master });
            }
        }
    }

    /// One update by the gradients that have accumulated, which are then forgotten.
    pub fn update(&mut self, policy: &mut Vlm, lr: f64) -> UpdateStats {
        let _no_grad = tch::no_grad_guard();
        let grads: Vec<(BufferKey, Tensor)> = self
            .moments
            .keys()
            .map(|&key| (key, policy.learned().flat_grad(key).to_kind(Kind::Float)))
            .collect();
        policy.learned_mut().zero_grad();

        let squares: Vec<Tensor> = grads.iter().map(|(_, g)| g.square().sum(Kind::Double)).collect();
        let grad_norm = Tensor::stack(&squares, 0).sum(Kind::Double).sqrt().double_value(&[]);
        if !grad_norm.is_finite() {
            return UpdateStats { grad_norm, applied: false };
        }
        // As PyTorch's clip_grad_norm_, with its 1e-6.
        let max = self.config.max_grad_norm;
        let clip = if max > 0.0 { (max / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };

        self.updates += 1;
        let OptimizerConfig { beta1, beta2, eps, weight_decay, .. } = self.config;
        let (bias1, bias2) = (1.0 - beta1.powf(self.updates as f64), 1.0 - beta2.powf(self.updates as f64));
        for (key, grad) in grads {
            let (Some(moments), Some(buffer)) =
                (self.moments.get_mut(&key), policy.learned().buffers().get(&key))
            else {
                continue;
            };
            let grad = grad * clip;
            let _ = moments.mean.lerp_(&grad, 1.0 - beta1);
            let _ = moments.square.g_mul_scalar_(beta2).addcmul_(&(&grad * (1.0 - beta2)), &grad);
            let denominator = (moments.square.sqrt() / bias2.sqrt()).g_add_scalar_(eps);
            let change = (&moments.mean / denominator).g_mul_scalar_(-lr / bias1);

            let mut buffer = buffer.shallow_clone();
            let weights = moments.master.as_mut().unwrap_or(&mut buffer);
            if key.decays && weight_decay > 0.0 {
                let _ = weights.g_mul_scalar_(1.0 - lr * weight_decay);
            }
            let _ = weights.g_add_(&change);
            if let Some(master) = &moments.master {
                buffer.copy_(master);
            }
        }
        UpdateStats { grad_norm, applied: true }
    }

    /// Writes moments, master weights and the count of updates, with the phase's step of the caller.
    pub fn save(&self, path: &Path, phase_step: u64) -> Result<(), StageError> {
        let counts = Tensor::from_slice(&[self.updates, phase_step as i64]);
        let mut tensors = vec![("counts".to_owned(), counts)];
        for (key, moments) in &self.moments {
            tensors.push((format!("{}.mean", buffer_name(*key)), moments.mean.shallow_clone()));
            tensors.push((format!("{}.square", buffer_name(*key)), moments.square.shallow_clone()));
            if let Some(master) = &moments.master {
                tensors.push((format!("{}.master", buffer_name(*key)), master.shallow_clone()));
            }
        }
        write_tensors(path, &tensors).map_err(|e| StageError::other("saving the optimizer", e))
    }

    /// Restores what [`AdamW::save`] wrote, after [`AdamW::begin`] has laid out the moments; returns the phase's step.
    pub fn load(&mut self, path: &Path) -> Result<u64, StageError> {
        let tensors = read_tensors(path).map_err(|e| StageError::other("restoring the optimizer", e))?;
        let find = |name: &str| {
            tensors.get(name).ok_or_else(|| StageError::State {
                stage: "optimizer",
                message: format!("`{}` has no `{name}`; was the trainable part changed?", path.display()),
            })
        };
        let counts = find("counts")?;
        self.updates = counts.int64_value(&[0]);
        for (key, moments) in &mut self.moments {
            let name = buffer_name(*key);
            moments.mean.copy_(find(&format!("{name}.mean"))?);
            moments.square.copy_(find(&format!("{name}.square"))?);
            if let Some(master) = &mut moments.master {
                master.copy_(find(&format!("{name}.master"))?);
            }
        }
        Ok(counts.int64_value(&[1]) as u64)
    }
}

fn learns(trainable: TrainableConfig, part: PartOfModel) -> bool {
    match part {
        PartOfModel::VisionTower => trainable.vision_tower,
        PartOfModel::Merger => trainable.merger,
        PartOfModel::Decoder => trainable.decoder,
    }
}

fn buffer_name(key: BufferKey) -> String {
    let part = match key.part {
        PartOfModel::VisionTower => "vision_tower",
        PartOfModel::Merger => "merger",
        PartOfModel::Decoder => "decoder",
    };
    format!("{part}.{}", if key.decays { "matrices" } else { "vectors" })
}
