//! One GRPO step: pack the groups, reference log-probs, loss and gradient by token, AdamW.

use std::path::Path;

use reft_config::GrpoPhase;
use reft_core::{Checkpointed, Metrics, PolicyOptimizer, ScoredGroup, StageError};
use reft_train::{AdamW, backward_by_token, learning_rate, split_by_tokens, token_logprobs};
use reft_vlm::{
    FrozenNetwork, Vlm,
    checkpoint::{read_tensors, write_tensors},
    model::PackedBatch,
};
use tch::{Kind, Tensor, no_grad};

use crate::{clip_fraction, clipped_surrogate, kl_k3, token_weights};

const STATE: &str = "optimizer.safetensors";
const REFERENCE: &str = "reference.safetensors";

/// GRPO on packed groups: each prompt is encoded once, its completions behind it.
pub struct GrpoOptimizer {
    config: GrpoPhase,
    optimizer: AdamW,
    /// The policy as it was when the phase began, of which an adapter alone is copied; none when the KL coefficient is 0.
    reference: Option<FrozenNetwork>,
    step: u64,
}

/// One forward and backward pass: a few groups and what the loss needs of them, `[c]` each.
struct MicroBatch {
    packed: PackedBatch,
    weight_c: Tensor,
    advantage_c: Tensor,
    rollout_c: Tensor,
    reference_c: Option<Tensor>,
    /// Log-probs at the first update of this batch of rollouts.
    old_c: Option<Tensor>,
}

/// Sums over tokens for the metrics.
#[derive(Default)]
struct Sums {
    loss: f64,
    kl: f64,
    ratio: f64,
    clipped: f64,
    entropy: f64,
    diff: f64,
    max_diff: f64,
}

impl GrpoOptimizer {
    /// The optimizer of a phase that starts from this policy. A resumed phase loads its state right after.
    pub fn new(config: &GrpoPhase, policy: &Vlm) -> Self {
        let optimizer = AdamW::new(&config.optimizer, config.trainable);
        let mut this = Self { config: config.clone(), optimizer, reference: None, step: 0 };
        this.begin(policy);
        this
    }

    fn begin(&mut self, policy: &Vlm) {
        self.optimizer.begin(policy);
        self.reference = (self.config.kl_coef > 0.0).then(|| policy.freeze());
        self.step = 0;
    }

    fn micro_batches(&self, policy: &Vlm, groups: &[&ScoredGroup]) -> Result<Vec<MicroBatch>, StageError> {
        let lengths: Vec<usize> =
            groups.iter().flat_map(|g| g.group.completions.iter().map(|c| c.token_ids.len())).collect();
        let weights = token_weights(&lengths, self.config.loss_scale, self.config.sampling.max_new_tokens);
        let prompts = groups
            .iter()
            .map(|g| {
                policy.encode(&g.group.sample.messages).map_err(|e| StageError::sample(&g.group.sample.id, e))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let sizes: Vec<usize> = groups
            .iter()
            .zip(&prompts)
            .map(|(g, p)| {
                p.token_ids.len() + g.group.completions.iter().map(|c| c.token_ids.len()).sum::<usize>()
            })
            .collect();

        let mut weights = weights.into_iter();
        let batches = split_by_tokens(&sizes, self.config.micro_batch_tokens).into_iter().map(|range| {
            let packing: Vec<_> = range
                .clone()
                .map(|i| {
                    (
                        &prompts[i],
                        groups[i].group.completions.iter().map(|c| c.token_ids.as_slice()).collect(),
                    )
                })
                .collect();
            let (mut advantages, mut rollout) = (Vec::new(), Vec::new());
            for group in &groups[range] {
                for (completion, &advantage) in group.group.completions.iter().zip(&group.advantages) {
                    advantages.extend(std::iter::repeat_n(advantage, completion.token_ids.len()));
                    rollout.extend_from_slice(&completion.logprobs);
                }
            }
            let weight: Vec<f32> = weights.by_ref().take(advantages.len()).collect();
            let on_device = |values: &[f32]| Tensor::from_slice(values).to_device(policy.device());
            MicroBatch {
                packed: policy.pack(&packing),
                weight_c: on_device(&weight),
                advantage_c: on_device(&advantages),
                rollout_c: on_device(&rollout),
                reference_c: None,
                old_c: None,
            }
        });
        Ok(batches.collect())
    }

    /// Loss and gradient of one micro-batch: `sum_c weight * (kl_coef * kl - surrogate)`.
    /// With an adapter, the same inputs are dropped in all updates of a step, so that ratios tell what has been learned.
    fn backward(&self, policy: &Vlm, pass: usize, batch: &mut MicroBatch, sums: &mut Sums) {
        let GrpoPhase { clip_low, clip_high, kl_coef, .. } = self.config;
        let temperature = f64::from(self.config.sampling.temperature);
        let mut first_logprobs = Vec::new();
        let MicroBatch { packed, weight_c, advantage_c, rollout_c, reference_c, old_c } = batch;

        let dropped = policy.with_dropout(&self.config.name, self.step, pass);
        sums.loss += backward_by_token(
            dropped.as_ref().unwrap_or(policy.network()),
            packed,
            policy.allowed_tokens(),
            temperature,
            |stats, range| {
                let part = |x: &Tensor| x.narrow(0, range.start, range.end - range.start);
                let (weight, advantage) = (part(weight_c), part(advantage_c));
                let logprob = &stats.logprob_c;
                // At the first update the ratio is 1 by construction; its gradient is the policy gradient.
                let old = old_c.as_ref().map_or_else(|| logprob.detach(), part);
                let mut loss = -clipped_surrogate(logprob, &old, &advantage, clip_low, clip_high);
                if let Some(reference) = reference_c.as_ref().map(part) {
                    let kl = kl_k3(logprob, &reference);
                    sums.kl += sum(&kl);
                    loss += kl * kl_coef;
                }
                no_grad(|| {
                    let diff = (logprob - part(rollout_c)).abs();
                    sums.ratio += sum(&(logprob - &old).exp());
                    sums.clipped += sum(&clip_fraction(logprob, &old, &advantage, clip_low, clip_high));
                    sums.entropy += sum(&stats.entropy_c);
                    sums.diff += sum(&diff);
                    sums.max_diff = sums.max_diff.max(diff.max().double_value(&[]));
                });
                first_logprobs.push(logprob.detach());
                (loss * weight).sum(Kind::Float)
            },
        );
        if old_c.is_none() {
            *old_c = Some(Tensor::cat(&first_logprobs, 0));
        }
    }
}

fn sum(x: &Tensor) -> f64 {
    x.sum(Kind::Double).double_value(&[])
}

impl PolicyOptimizer<Vlm> for GrpoOptimizer {
    fn begin_phase(&mut self, policy: &Vlm) -> Result<(), StageError> {
        self.begin(policy);
        Ok(())
    }

    fn update(&mut self, policy: &mut Vlm, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        let lr = learning_rate(self.config.lr, &self.config.optimizer, self.step, self.config.steps);
        let admitted: Vec<&ScoredGroup> = groups.iter().filter(|g| g.is_admitted()).collect();
        let mut batches = self.micro_batches(policy, &admitted)?;
        if let Some(reference) = &self.reference {
            let temperature = f64::from(self.config.sampling.temperature);
            for batch in &mut batches {
                let logprobs =
                    token_logprobs(reference.network(), &batch.packed, policy.allowed_tokens(), temperature);
                batch.reference_c = Some(logprobs);
            }
        }

        let (mut sums, mut grad_norm) = (Sums::default(), 0.0);
        let updates = if batches.is_empty() { 0 } else { self.config.updates_per_batch };
        for _ in 0..updates {
            for (pass, batch) in batches.iter_mut().enumerate() {
                self.backward(policy, pass, batch, &mut sums);
            }
            if !sums.loss.is_finite() {
                return Err(StageError::NonFinite { what: "loss", step: self.step });
            }
            let stats = self.optimizer.update(policy, lr);
            if !stats.applied {
                return Err(StageError::NonFinite { what: "gradient", step: self.step });
            }
            grad_norm += stats.grad_norm / updates as f64;
        }
        self.step += 1;

        let tokens: i64 = batches.iter().map(|b| b.weight_c.size()[0]).sum();
        let seen = (tokens as f64 * updates as f64).max(1.0);
        let mut metrics = Metrics::new();
        metrics.set("grpo/loss", sums.loss / updates.max(1) as f64);
        metrics.set("grpo/kl", sums.kl / seen);
        metrics.set("grpo/ratio_mean", sums.ratio / seen);
        metrics.set("grpo/clip_fraction", sums.clipped / seen);
        metrics.set("grpo/entropy", sums.entropy / seen);
        metrics.set("grpo/logprob_diff_mean", sums.diff / seen);
        metrics.set("grpo/logprob_diff_max", sums.max_diff);
        metrics.set("grpo/grad_norm", grad_norm);
        metrics.set("grpo/lr", lr);
        metrics.set("grpo/tokens", tokens as f64);
        Ok(metrics)
    }
}

/// Moments, step count and the reference's weights.
impl Checkpointed for GrpoOptimizer {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.optimizer.save(&dir.join(STATE), self.step)?;
        let Some(reference) = &self.reference else { return Ok(()) };
        let tensors: Vec<(String, Tensor)> = reference
            .params()
            .params()
            .iter()
            .map(|p| (p.spec.name.clone(), p.tensor.shallow_clone()))
            .collect();
        write_tensors(&dir.join(REFERENCE), &tensors)
            .map_err(|e| StageError::other("saving the KL reference", e))
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.step = self.optimizer.load(&dir.join(STATE))?;
        let Some(reference) = &self.reference else { return Ok(()) };
        let path = dir.join(REFERENCE);
        let tensors = read_tensors(&path).map_err(|e| StageError::other("restoring the KL reference", e))?;
        for param in reference.params().params() {
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
