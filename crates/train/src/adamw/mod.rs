//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, on flat buffers, with state that can be saved.
//!
//! `w = w (1 - lr wd)`, `m = b1 m + (1-b1) g`, `v = b2 v + (1-b2) g^2`,
//! `w = w - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.
//! Matrices decay, norms and biases do not. How moments are stored is in `moments.rs`, how weights of fewer bits than
//! fp32 learn in `weights.rs`, how ranks divide both in `partition.rs`.

mod dynamic_map;
mod moments;
mod partition;
mod weights;

use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::Arc};

use reft_config::{Between, LrScale, OptimizerConfig, Shard, TrainableConfig};
use reft_core::{Seed, StageError};
use reft_dist::{Group, Op};
use reft_vlm::{
    Vlm,
    checkpoint::{read_tensors, write_tensors},
    model::{BufferKey, PartOfModel},
};
use tch::{Kind, Tensor};

use crate::{GradientTransform, ranks};

use self::{
    moments::{Moment, OneFor, Sign},
    partition::{Partition, Piece},
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
    /// The processes that share an update.
    group: Arc<Group>,
    shard: Shard,
    /// Whether only the gradients that this rank updates are the sums over all ranks.
    has_part_of_sums: bool,
    updates: i64,
    /// Laid out when the phase begins, not before: it is as large as the model.
    states: BTreeMap<BufferKey, BufferState>,
    has_begun: bool,
    /// The state of all ranks, on rank 0 between [`AdamW::gather`] and [`AdamW::save`].
    gathered: RefCell<Option<Vec<(String, Tensor)>>>,
}

/// What this rank keeps of a buffer.
struct BufferState {
    partition: Partition,
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
        Self {
            config: config.clone(),
            trainable,
            seed,
            transform: None,
            group: Arc::default(),
            shard: Shard::None,
            has_part_of_sums: false,
            updates: 0,
            states: BTreeMap::new(),
            has_begun: false,
            gathered: RefCell::default(),
        }
    }

    /// With updates that the ranks of a group share, each with all of the state or with its part of it.
    #[must_use]
    pub fn with_group(self, group: Arc<Group>, shard: Shard) -> Self {
        Self { group, shard, ..self }
    }

    /// Whether this rank has a part of the state only.
    fn is_divided(&self) -> bool {
        self.shard == Shard::Optimizer && !self.group.is_alone()
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
        let (rank, size) = if self.is_divided() { (self.group.rank(), self.group.size()) } else { (0, 1) };
        self.states = buffers
            .map(|(&key, weights)| {
                let partition = Partition::new(rank, size, weights.size()[0]);
                let (n, device) = (partition.own_numel(), weights.device());
                let state = BufferState {
                    partition,
                    mean: Moment::zeros(self.config.moments, Sign::Signed, n, device),
                    square: Moment::zeros(self.config.moments, Sign::Positive, n, device),
                    low_bits: LowBits::new(self.config.small_weights, &partition.own(weights)),
                };
                (key, state)
            })
            .collect();
        self.has_begun = true;
        self.transform.as_mut().map_or(Ok(()), |transform| transform.begin(policy))
    }

    /// Whether [`AdamW::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The gradients that have accumulated become the sums over all ranks: those that this rank updates, or all where a
    /// transform wants to see them.
    pub fn sum_gradients(&mut self, policy: &Vlm) -> Result<(), StageError> {
        if self.group.is_alone() {
            return Ok(());
        }
        let _no_grad = tch::no_grad_guard();
        self.has_part_of_sums = self.is_divided() && self.transform.is_none();
        for (&key, state) in &self.states {
            let Some(gradient) = policy.learned().flat_grad(key) else { continue };
            if self.has_part_of_sums {
                state.partition.reduce_scatter(&self.group, &gradient).map_err(ranks::failed)?;
            } else {
                partition::all_reduce(&self.group, &gradient).map_err(ranks::failed)?;
            }
        }
        Ok(())
    }

    /// One update by the gradients that have accumulated, which are then forgotten. Ranks sum them before, by
    /// [`AdamW::sum_gradients`] or in a way of their own.
    pub fn update(&mut self, policy: &mut Vlm, lr: f64) -> Result<UpdateStats, StageError> {
        let _no_grad = tch::no_grad_guard();
        if let Some(transform) = &mut self.transform {
            transform.transform(policy, self.updates as u64)?;
        }
        let grad_norm = self.norm(policy)?;
        if !grad_norm.is_finite() {
            policy.learned_mut().zero_grad();
            return Ok(UpdateStats { grad_norm, applied: false });
        }
        // As PyTorch's clip_grad_norm_, with its 1e-6.
        let max = self.config.max_grad_norm;
        let clip = if max > 0.0 { (max / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };

        self.updates += 1;
        let is_divided = self.is_divided();
        let OptimizerConfig { beta1, beta2, eps, weight_decay, lr_scale, .. } = self.config;
        let (bias1, bias2) = (1.0 - beta1.powf(self.updates as f64), 1.0 - beta2.powf(self.updates as f64));
        for (&key, state) in &mut self.states {
            let Some(buffer) = policy.learned().buffers().get(&key) else { continue };
            let lr = lr * scale_of(lr_scale, key.part);
            let rule = Rule { beta1, beta2, eps, step: lr / bias1, root_bias2: bias2.sqrt() };
            let decay = if key.decays { 1.0 - lr * weight_decay } else { 1.0 };
            let seed = self.seed.at(self.updates as u64).at(key.name().as_str());
            let Some(grads) = policy.learned().flat_grad(key) else { continue };
            let BufferState { partition, mean, square, low_bits } = state;
            for Piece { buffer: piece, own } in partition.pieces() {
                let part = |x: &Tensor| x.narrow(0, piece.start, piece.end - piece.start);
                let grad = part(&grads).to_kind(Kind::Float) * clip;
                let (mut m, mut v) = (mean.read(&own), square.read(&own));
                let mut change = rule.change(&mut m, &mut v, &grad);
                if let Some(moves) = self.transform.as_ref().and_then(|transform| transform.moves(key)) {
                    let _ = change.g_mul_(&part(moves));
                }
                mean.write(&own, &m);
                square.write(&own, &v);
                low_bits.add(&mut part(buffer), (&own, piece.start), decay, &change, seed);
            }
            if is_divided {
                partition.gather_weights(&self.group, buffer).map_err(ranks::failed)?;
            }
        }
        policy.learned_mut().zero_grad();
        Ok(UpdateStats { grad_norm, applied: true })
    }

    /// Euclidean norm of the gradients of all that learns.
    fn norm(&self, policy: &Vlm) -> Result<f64, StageError> {
        let gradients = |(&key, state): (&BufferKey, &BufferState)| {
            Some((policy.learned().flat_grad(key)?, state.partition))
        };
        let gradients: Vec<(Tensor, Partition)> = self.states.iter().filter_map(gradients).collect();
        if !self.has_part_of_sums {
            return Ok(sum_of_squares(gradients.iter().map(|(gradient, _)| gradient)).sqrt());
        }
        let parts: Vec<Tensor> =
            gradients.iter().map(|(gradient, partition)| partition.part(gradient)).collect();
        let rests: Vec<Tensor> =
            gradients.iter().map(|(gradient, partition)| partition.rest(gradient)).collect();
        let [parts] = ranks::reduce(&self.group, [sum_of_squares(&parts)], Op::Sum)?;
        Ok((parts + sum_of_squares(&rests)).sqrt())
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

    /// Brings the state of all ranks together on the CPU of rank 0, for the [`AdamW::save`] that follows. Called on all ranks;
    /// where state is not divided there is nothing to do.
    pub fn gather(&self) -> Result<(), StageError> {
        if !self.is_divided() {
            return Ok(());
        }
        let mut whole = Vec::new();
        for (&key, state) in &self.states {
            for (name, partition, own) in state.tensors() {
                let state = partition.gather_state(&self.group, own).map_err(ranks::failed)?;
                whole.extend(state.map(|state| (format!("{}.{name}", key.name()), state)));
            }
        }
        *self.gathered.borrow_mut() = Some(whole);
        Ok(())
    }

    /// All state, as a checkpoint holds it.
    fn whole(&self) -> Result<Vec<(String, Tensor)>, StageError> {
        if self.is_divided() {
            let message = "its state is divided among ranks; `gather` comes before `save`".to_owned();
            return self.gathered.take().ok_or(StageError::State { stage: "optimizer", message });
        }
        let named = |(key, state): (&BufferKey, &BufferState)| {
            let tensors = state.tensors().into_iter();
            let named = tensors.map(|(name, _, own)| (format!("{}.{name}", key.name()), own.shallow_clone()));
            named.collect::<Vec<_>>()
        };
        Ok(self.states.iter().flat_map(named).collect())
    }

    /// Writes all state and the count of updates, with the phase's step of the caller.
    pub fn save(&self, path: &Path, phase_step: u64) -> Result<(), StageError> {
        let counts = Tensor::from_slice(&[self.updates, phase_step as i64]);
        let mut tensors = vec![("counts".to_owned(), counts)];
        tensors.extend(self.whole()?);
        let transform = self.transform.iter().flat_map(|transform| transform.save());
        tensors.extend(transform.map(|(name, tensor)| (format!("{TRANSFORM}{name}"), tensor)));
        write_tensors(path, &tensors).map_err(|e| StageError::other("saving the optimizer", e))
    }

    /// Restores what [`AdamW::save`] wrote, after [`AdamW::begin`] has laid out the state; returns the phase's step.
    pub fn load(&mut self, path: &Path) -> Result<u64, StageError> {
        if !self.has_begun {
            let message =
                "its state is laid out by `begin_phase`, which comes before it is restored".to_owned();
            return Err(StageError::State { stage: "optimizer", message });
        }
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
            for (name, partition, own) in state.tensors() {
                own.shallow_clone().copy_(&partition.own(find(&format!("{}.{name}", key.name()))?));
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
    /// Everything that a checkpoint must hold, and how it is divided.
    fn tensors(&self) -> Vec<(String, Partition, &Tensor)> {
        let mut tensors = Vec::new();
        for (name, moment) in [("mean", &self.mean), ("square", &self.square)] {
            for (part, one_for, tensor) in moment.tensors() {
                let partition = match one_for {
                    OneFor::Value => self.partition,
                    OneFor::Block => self.partition.of_blocks(),
                };
                tensors.push((format!("{name}{part}"), partition, tensor));
            }
        }
        let low_bits = self.low_bits.tensor();
        tensors.extend(low_bits.map(|(name, tensor)| (name.to_owned(), self.partition, tensor)));
        tensors
    }
}

/// Euclidean norm of all gradients that have accumulated; parameters that take none count as 0.
pub fn grad_norm(policy: &Vlm) -> f64 {
    let keys = policy.learned().buffers().keys();
    let gradients: Vec<Tensor> = keys.filter_map(|&key| policy.learned().flat_grad(key)).collect();
    sum_of_squares(&gradients).sqrt()
}

/// Numbers that a norm widens at a time.
const NORM_PART: i64 = 1 << 26;

/// The sum of the squares of all numbers of some flat gradients.
fn sum_of_squares<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    let square = |part: &Tensor| part.to_kind(Kind::Float).square().sum(Kind::Double);
    // By parts: libtorch widens all that it sums first.
    let squares: Vec<Tensor> = gradients
        .into_iter()
        .flat_map(|gradient| gradient.split(NORM_PART, 0).iter().map(square).collect::<Vec<_>>())
        .collect();
    if squares.is_empty() {
        return 0.0;
    }
    Tensor::stack(&squares, 0).sum(Kind::Double).double_value(&[])
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
                LowBits::None.add(&mut weights, (&(0..1), 0), 1.0 - lr * weight_decay, &change, Seed::new(0));
                if [1, 10, 100].contains(&t) {
                    let diff = (&weights - get(&t.to_string())).abs().max().double_value(&[]);
                    assert!(diff < 3e-7, "{name} after {t} steps: {diff}");
                }
            }
        }
    }
}
