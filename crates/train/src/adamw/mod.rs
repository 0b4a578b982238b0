//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, on flat buffers, with state that can be saved.
//!
//! `w = w (1 - lr wd)`, `m = b1 m + (1-b1) g`, `v = b2 v + (1-b2) g^2`,
//! `w = w - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.
//! Matrices decay, norms and biases do not. How moments are stored is in `moments.rs`, how weights of fewer bits than
//! fp32 learn in `weights.rs`.

mod dynamic_map;
mod moments;
mod weights;

use std::{collections::BTreeMap, path::Path};

use reft_config::{Between, LrScale, OptimizerConfig, TrainableConfig};
use reft_core::{Seed, StageError};
use reft_vlm::{
    Vlm,
    checkpoint::{read_tensors, write_tensors},
    model::{BufferKey, PartOfModel},
};
use tch::{Kind, Tensor};

use crate::GradientTransform;

use self::{
    moments::{Moment, Sign},
    weights::LowBits,
};

/// Elements that are updated at a time, so that temporaries stay small; whole blocks of quantised moments.
const PIECE: i64 = 1 << 24;

/// What names of a gradient transform's state begin with in a checkpoint.
const TRANSFORM: &str = "gradient.";

/// The optimizer of one phase.
pub struct AdamW {
    config: OptimizerConfig,
    trainable: TrainableConfig,
    seed: Seed,
    transform: Option<Box<dyn GradientTransform>>,
    updates: i64,
    states: BTreeMap<BufferKey, BufferState>,
}

/// What the optimizer keeps of a buffer.
struct BufferState {
    mean: Moment,
    square: Moment,
    low_bits: LowBits,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateStats {
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Whether the update was made: not when the gradient is not finite.
    pub applied: bool,
}

/// The numbers of one update.
#[derive(Clone, Copy)]
struct Rule {
    beta1: f64,
    beta2: f64,
    eps: f64,
    /// `lr / (1 - b1^t)`.
    step: f64,
    /// `sqrt(1 - b2^t)`.
    root_bias2: f64,
}

impl Rule {
    /// Moves the moments of a piece and returns what is to be added to its weights.
    fn change(self, mean: &mut Tensor, square: &mut Tensor, grad: &Tensor) -> Tensor {
        let _ = mean.lerp_(grad, 1.0 - self.beta1);
        let _ = square.g_mul_scalar_(self.beta2).addcmul_(&(grad * (1.0 - self.beta2)), grad);
        let denominator = square.sqrt().g_div_scalar_(self.root_bias2).g_add_scalar_(self.eps);
        (&*mean * -self.step) / denominator
    }
}

impl AdamW {
    /// An optimizer without moments yet. `seed` is that of the phase, for stochastic rounding.
    pub fn new(config: &OptimizerConfig, trainable: TrainableConfig, seed: Seed) -> Self {
        let seed = seed.at("rounding");
        Self { config: config.clone(), trainable, seed, transform: None, updates: 0, states: BTreeMap::new() }
    }

    /// With a transform of the gradients of every update; none leaves them as they are.
    #[must_use]
    pub fn with_transform(self, transform: Option<Box<dyn GradientTransform>>) -> Self {
        Self { transform, ..self }
    }

    /// Marks the trainable parts of the policy and starts with zero moments.
    pub fn begin(&mut self, policy: &Vlm) -> Result<(), StageError> {
        let trainable = self.trainable;
        policy.set_trainable(|part| learns(trainable, part));
        self.updates = 0;
        // Old moments go before new ones come.
        self.states.clear();
        let buffers = policy.learned().buffers().iter().filter(|(key, _)| learns(trainable, key.part));
        self.states = buffers
            .map(|(&key, weights)| {
                let state = BufferState {
                    mean: Moment::zeros(self.config.moments, Sign::Signed, weights),
                    square: Moment::zeros(self.config.moments, Sign::Positive, weights),
                    low_bits: LowBits::new(self.config.small_weights, weights),
                };
                (key, state)
            })
            .collect();
        self.transform.as_mut().map_or(Ok(()), |transform| transform.begin(policy))
    }

    /// One update by the gradients that have accumulated, which are then forgotten.
    pub fn update(&mut self, policy: &mut Vlm, lr: f64) -> Result<UpdateStats, StageError> {
        let _no_grad = tch::no_grad_guard();
        if let Some(transform) = &mut self.transform {
            transform.transform(policy, self.updates as u64)?;
        }
        let grad_norm = norm_of(policy, self.states.keys());
        if !grad_norm.is_finite() {
            policy.learned_mut().zero_grad();
            return Ok(UpdateStats { grad_norm, applied: false });
        }
        // As PyTorch's clip_grad_norm_, with its 1e-6.
        let max = self.config.max_grad_norm;
        let clip = if max > 0.0 { (max / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };

        self.updates += 1;
        let OptimizerConfig { beta1, beta2, eps, weight_decay, lr_scale, .. } = self.config;
        let (bias1, bias2) = (1.0 - beta1.powf(self.updates as f64), 1.0 - beta2.powf(self.updates as f64));
        for (&key, state) in &mut self.states {
            let Some(buffer) = policy.learned().buffers().get(&key) else { continue };
            let lr = lr * scale_of(lr_scale, key.part);
            let rule = Rule { beta1, beta2, eps, step: lr / bias1, root_bias2: bias2.sqrt() };
            let decay = if key.decays { 1.0 - lr * weight_decay } else { 1.0 };
            let seed = self.seed.at(self.updates as u64).at(key.name().as_str());
            let Some(grads) = policy.learned().flat_grad(key) else { continue };
            for first in (0..grads.size()[0]).step_by(PIECE as usize) {
                let piece = first..(first + PIECE).min(grads.size()[0]);
                let part = |x: &Tensor| x.narrow(0, piece.start, piece.end - piece.start);
                let grad = part(&grads).to_kind(Kind::Float) * clip;
                let BufferState { mean, square, low_bits } = state;
                let (mut m, mut v) = (mean.read(&piece), square.read(&piece));
                let mut change = rule.change(&mut m, &mut v, &grad);
                if let Some(moves) = self.transform.as_ref().and_then(|transform| transform.moves(key)) {
                    let _ = change.g_mul_(&part(moves));
                }
                mean.write(&piece, &m);
                square.write(&piece, &v);
                low_bits.add(&mut part(buffer), &piece, decay, &change, seed);
            }
        }
        policy.learned_mut().zero_grad();
        Ok(UpdateStats { grad_norm, applied: true })
    }

    /// Forgets the gradients that have accumulated.
    pub fn skip(&mut self, policy: &mut Vlm) {
        if let Some(transform) = &mut self.transform {
            transform.forget();
        }
        policy.learned_mut().zero_grad();
    }

    /// What tells apart the parts of a batch after each of which [`AdamW::take_part`] is to be called.
    pub fn apart(&self) -> Option<Between> {
        self.transform.as_ref().and_then(|transform| transform.apart())
    }

    /// Gives the gradients that have accumulated to the transform as those of one part of the batch.
    pub fn take_part(&mut self, policy: &mut Vlm) {
        if let Some(transform) = &mut self.transform {
            tch::no_grad(|| transform.take_part(policy));
            policy.learned_mut().zero_grad();
        }
    }

    /// Writes all state and the count of updates, with the phase's step of the caller.
    pub fn save(&self, path: &Path, phase_step: u64) -> Result<(), StageError> {
        let counts = Tensor::from_slice(&[self.updates, phase_step as i64]);
        let mut tensors = vec![("counts".to_owned(), counts)];
        for (&key, state) in &self.states {
            let named = state
                .tensors()
                .into_iter()
                .map(|(name, tensor)| (format!("{}.{name}", key.name()), tensor.shallow_clone()));
            tensors.extend(named);
        }
        let transform = self.transform.iter().flat_map(|transform| transform.save());
        tensors.extend(transform.map(|(name, tensor)| (format!("{TRANSFORM}{name}"), tensor)));
        write_tensors(path, &tensors).map_err(|e| StageError::other("saving the optimizer", e))
    }

    /// Restores what [`AdamW::save`] wrote, after [`AdamW::begin`] has laid out the state; returns the phase's step.
    pub fn load(&mut self, path: &Path) -> Result<u64, StageError> {
        let saved = read_tensors(path).map_err(|e| StageError::other("restoring the optimizer", e))?;
        let find = |name: &str| {
            saved.get(name).ok_or_else(|| StageError::State {
                stage: "optimizer",
                message: format!(
                    "`{}` has no `{name}`; was `trainable`, `optimizer.moments` or `optimizer.small_weights` changed?",
                    path.display()
                ),
            })
        };
        let counts = find("counts")?;
        self.updates = counts.int64_value(&[0]);
        for (&key, state) in &self.states {
            for (name, tensor) in state.tensors() {
                tensor.shallow_clone().copy_(find(&format!("{}.{name}", key.name()))?);
            }
        }
        if let Some(transform) = &mut self.transform {
            let own = saved.iter().filter_map(|(name, x)| Some((name.strip_prefix(TRANSFORM)?, x)));
            transform.load(&own.map(|(name, x)| (name.to_owned(), x.shallow_clone())).collect())?;
        }
        Ok(counts.int64_value(&[1]) as u64)
    }
}

impl BufferState {
    /// Everything that a checkpoint must hold.
    fn tensors(&self) -> Vec<(String, &Tensor)> {
        let moment = |name: &str, moment| {
            let named = move |(part, tensor)| (format!("{name}{part}"), tensor);
            Moment::tensors(moment).into_iter().map(named).collect::<Vec<_>>()
        };
        let mut tensors = moment("mean", &self.mean);
        tensors.extend(moment("square", &self.square));
        tensors.extend(self.low_bits.tensor().map(|(name, tensor)| (name.to_owned(), tensor)));
        tensors
    }
}

/// Euclidean norm of all gradients that have accumulated; parameters that take none count as 0.
pub fn grad_norm(policy: &Vlm) -> f64 {
    norm_of(policy, policy.learned().buffers().keys())
}

/// Numbers that a norm widens at a time.
const NORM_PART: i64 = 1 << 26;

/// Euclidean norm of the gradients of some buffers.
fn norm_of<'a>(policy: &Vlm, keys: impl Iterator<Item = &'a BufferKey>) -> f64 {
    let square = |part: &Tensor| part.to_kind(Kind::Float).square().sum(Kind::Double);
    // By parts: libtorch widens all that it sums first.
    let squares: Vec<Tensor> = keys
        .filter_map(|&key| policy.learned().flat_grad(key))
        .flat_map(|grads| grads.split(NORM_PART, 0).iter().map(square).collect::<Vec<_>>())
        .collect();
    if squares.is_empty() {
        return 0.0;
    }
    Tensor::stack(&squares, 0).sum(Kind::Double).sqrt().double_value(&[])
}

/// Whether a part of the model learns.
pub fn learns(trainable: TrainableConfig, part: PartOfModel) -> bool {
    match part {
        PartOfModel::VisionTower => trainable.vision_tower,
        PartOfModel::Merger => trainable.merger,
        PartOfModel::Decoder => trainable.decoder,
    }
}

fn scale_of(scale: LrScale, part: PartOfModel) -> f64 {
    match part {
        PartOfModel::VisionTower => scale.vision_tower,
        PartOfModel::Merger => scale.merger,
        PartOfModel::Decoder => scale.decoder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim.AdamW` over a hundred steps, from a golden file of `golden_losses.py`.
    #[test]
    fn a_hundred_steps_are_pytorchs() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/adamw.safetensors");
        let golden = read_tensors(&path).unwrap();
        let (lr, beta1, beta2, eps) = (3e-3, 0.9_f64, 0.95_f64, 1e-8);
        for (name, weight_decay) in [("matrix", 0.1), ("vector", 0.0)] {
            let get = |part: &str| golden[&format!("{name}.{part}")].flatten(0, -1);
            let mut weights = get("start");
            let gradients = get("gradients").view([100, -1]);
            let (mut mean, mut square) = (weights.zeros_like(), weights.zeros_like());
            for t in 1..=100_i32 {
                let (bias1, bias2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
                let rule = Rule { beta1, beta2, eps, step: lr / bias1, root_bias2: bias2.sqrt() };
                let change = rule.change(&mut mean, &mut square, &gradients.get(i64::from(t) - 1));
                LowBits::None.add(&mut weights, &(0..1), 1.0 - lr * weight_decay, &change, Seed::new(0));
                if [1, 10, 100].contains(&t) {
                    let diff = (&weights - get(&t.to_string())).abs().max().double_value(&[]);
                    assert!(diff < 3e-7, "{name} after {t} steps: {diff}");
                }
            }
        }
    }
}
