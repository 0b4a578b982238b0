//! One GRPO step: pack the groups, reference log-probs, loss and gradient by token, AdamW.

use std::{path::Path, sync::Arc};

use reft_config::{GrpoPhase, KlPlace, Shard};
use reft_core::{
    AdvantageEstimator, Checkpointed, Demonstration, Metrics, PolicyOptimizer, RewardParts, ScoredGroup,
    Seed, StageError, step_advantages,
};
use reft_dist::Group;
use reft_train::{AdamW, GradientTransform, examine, gradient_transform, in_parts, learning_rate};
use reft_vlm::{Vlm, model::Keep};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::{
    Objective, PassOptions, PolicyLoss,
    backward::Update,
    batch::{MicroBatch, split},
    diagnose::{Known, diagnose},
    in_order,
    numbers::by_completion,
    ranks::Ranks,
    reference::Reference,
    sums::Sums,
};

const STATE: &str = "optimizer.safetensors";

/// GRPO and its kin on packed groups: each prompt is encoded once, its completions behind it.
pub struct GrpoOptimizer {
    config: GrpoPhase,
    objective: Objective,
    options: PassOptions,
    optimizer: AdamW,
    reference: Option<Reference>,
    /// Takes advantages again where the KL penalty is part of the reward.
    advantage: Option<Arc<dyn AdvantageEstimator>>,
    /// The processes that share an update.
    group: Arc<Group>,
    seed: Seed,
    step: u64,
    /// What the last update that was left out saw of each group: for its diagnosis.
    left_out: Vec<Known>,
}

impl GrpoOptimizer {
    /// The optimizer of a phase; `seed` is that of the phase.
    pub fn new(config: &GrpoPhase, policy: &Vlm, seed: Seed) -> Result<Self, StageError> {
        if config.exact && !can_be_exact(policy) {
            let message = "`exact` needs fp32 weights on the CPU and an adapter without dropout";
            return Err(StageError::other(format!("phase `{}`", config.name), message));
        }
        let this = Self {
            config: config.clone(),
            objective: Objective::new(config),
            options: PassOptions::new(config),
            optimizer: AdamW::new(&config.optimizer, config.trainable, seed),
            reference: None,
            advantage: None,
            group: Arc::new(Group::alone()),
            seed: seed.at("loss"),
            step: 0,
            left_out: Vec::new(),
        };
        Ok(this.with_transform(config.gradient.as_ref().map(|config| gradient_transform(config, seed))))
    }

    /// With another policy loss than the phase's.
    #[must_use]
    pub fn with_loss(self, loss: Box<dyn PolicyLoss>) -> Self {
        Self { objective: self.objective.with_loss(loss), ..self }
    }

    /// With another gradient transform than the phase's; none leaves gradients as they are.
    #[must_use]
    pub fn with_transform(self, transform: Option<Box<dyn GradientTransform>>) -> Self {
        let optimizer = self.optimizer.with_transform(transform);
        let options = PassOptions { apart: optimizer.apart(), ..self.options };
        Self { options, optimizer, ..self }
    }

    /// With updates that the ranks of a group share: each passes a part of a batch, gradients are added, and the
    /// optimizer's state is divided where `shard` says so.
    #[must_use]
    pub fn with_group(self, group: Arc<Group>, shard: Shard) -> Self {
        let options = PassOptions { ranks: group.size(), ..self.options };
        let optimizer = self.optimizer.with_group(Arc::clone(&group), shard);
        Self { options, optimizer, group, ..self }
    }

    fn begin(&mut self, policy: &Vlm) -> Result<(), StageError> {
        // What an earlier phase left goes before the new comes.
        self.reference = None;
        self.optimizer.begin(policy)?;
        self.reference = Reference::new(&self.config, policy)?;
        self.step = 0;
        Ok(())
    }

    /// The micro-batches with reference log-probs; a KL penalty in the reward is already in the advantages.
    fn prepare(
        &self,
        policy: &Vlm,
        groups: &[&ScoredGroup],
        kl_weight: f64,
    ) -> Result<Vec<MicroBatch>, StageError> {
        let mut batches = split(&self.objective, self.options, policy, groups)?;
        let Some(reference) = &self.reference else { return Ok(batches) };
        let ranks = Ranks::new(&self.group, &batches);
        let all = ranks.gather(&batches, |_, batch| batch.logprobs_of(reference.network(), policy))?;
        for (batch, reference_c) in batches.iter_mut().zip(all) {
            batch.reference_c = Some(reference_c);
        }
        match self.objective.kl_place() {
            KlPlace::Loss => {}
            KlPlace::Reward => self.penalise_rewards(&mut batches, groups, kl_weight)?,
            KlPlace::TokenReward => {
                for batch in &mut batches {
                    batch.penalise_tokens(&self.objective, kl_weight);
                }
            }
        }
        Ok(batches)
    }

    /// Takes `weight` times its divergence from each completion's reward, and advantages of what is left (RLOO, Ahmadian
    /// et al. 2024, section 2.1).
    fn penalise_rewards(
        &self,
        batches: &mut [MicroBatch],
        groups: &[&ScoredGroup],
        weight: f64,
    ) -> Result<(), StageError> {
        let advantage = self.advantage.as_ref().ok_or_else(|| {
            StageError::other("optimizer", "`kl.place = \"reward\"` needs an estimator: `share_advantage`")
        })?;
        let mut penalties = batches.iter().flat_map(|batch| batch.penalties(&self.objective));
        let mut rewards: Vec<Vec<RewardParts>> = groups.iter().map(|group| group.rewards.clone()).collect();
        for (reward, penalty) in rewards.iter_mut().flatten().zip(penalties.by_ref()) {
            reward.total -= (weight * penalty) as f32;
        }
        drop(penalties);
        let advantages = step_advantages(&**advantage, &rewards);
        for batch in batches {
            let own = advantages[batch.groups.clone()].concat();
            batch.set_advantages(&own);
        }
        Ok(())
    }

    /// That trainer and rollout compute the same model, before anything is learned from what the rollout said.
    fn check_mismatch(&self, sums: &Sums) -> Result<(), StageError> {
        let Some(config) = self.objective.correction() else { return Ok(()) };
        match sums.mismatch() {
            Some(found) if found.mean > config.max_mismatch => {
                let message = format!(
                    "{found}; above `correction.max_mismatch` = {}, as if answers came from another model. {}",
                    config.max_mismatch,
                    found.causes()
                );
                Err(StageError::other(format!("log-probs of phase `{}`", self.config.name), message))
            }
            _ => Ok(()),
        }
    }

    /// Leaves an update out, after `applied` ones on the same batch.
    fn not_finite(
        &mut self,
        policy: &mut Vlm,
        what: &'static str,
        applied: usize,
        batches: &[MicroBatch],
    ) -> StageError {
        self.optimizer.skip(policy);
        // Before the step ends: a reference that follows the policy moves then.
        self.left_out = known(batches, applied > 0);
        self.end_step(policy);
        StageError::NonFinite { what, step: self.step, applied }
    }

    /// Every step counts, whether its update was made, left out or had no groups.
    fn end_step(&mut self, policy: &Vlm) {
        self.step += 1;
        if let Some(reference) = &mut self.reference {
            reference.follow(policy, self.step);
        }
    }
}

/// Log-probs of the first update, which a diagnosis wants of all micro-batches.
fn share_old(batches: &mut [MicroBatch], ranks: &Ranks<'_>) -> Result<(), StageError> {
    let old = |_, batch: &MicroBatch| batch.old_c.as_ref().unwrap_or(&batch.rollout_c).shallow_clone();
    let all = ranks.gather(batches, old)?;
    for (batch, old_c) in batches.iter_mut().zip(all) {
        batch.old_c = Some(old_c);
    }
    Ok(())
}

/// What an update saw of each group: log-probs of the reference, and those of the first update where it is a later one.
fn known(batches: &[MicroBatch], is_later: bool) -> Vec<Known> {
    let mut groups = Vec::new();
    for batch in batches {
        let split = |numbers_c: &Tensor| by_completion(numbers_c, &batch.lengths).into_iter();
        let mut references = batch.reference_c.as_ref().map(split);
        let mut olds = batch.old_c.as_ref().filter(|_| is_later).map(split);
        for &size in &batch.sizes {
            groups.push(Known {
                reference: references.as_mut().map(|numbers| numbers.take(size).collect()),
                old: olds.as_mut().map(|numbers| numbers.take(size).collect()),
            });
        }
    }
    groups
}

/// Whether rollout and trainer can compute the same bits.
fn can_be_exact(policy: &Vlm) -> bool {
    policy.device() == Device::Cpu && policy.kind() == Kind::Float && policy.with_dropout("", 0, 0).is_none()
}

impl PolicyOptimizer<Vlm> for GrpoOptimizer {
    fn share_advantage(&mut self, advantage: &Arc<dyn AdvantageEstimator>) {
        self.advantage = Some(Arc::clone(advantage));
    }

    fn begin_phase(&mut self, policy: &Vlm) -> Result<(), StageError> {
        self.begin(policy)
    }

    fn examine(&mut self, policy: &mut Vlm, answers: &[Demonstration]) -> Result<Value, StageError> {
        Ok(serde_json::json!(examine(policy, answers, Keep::new(self.config.recompute))?))
    }

    fn update(&mut self, policy: &mut Vlm, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        if !self.optimizer.has_begun() {
            self.begin(policy)?;
        }
        let lr = learning_rate(self.config.lr, &self.config.optimizer, self.step, self.config.steps);
        let kl_weight = self.objective.kl_weight(self.step);
        let admitted: Vec<&ScoredGroup> = groups.iter().filter(|g| g.is_admitted()).collect();
        let mut batches = self.prepare(policy, &admitted, kl_weight)?;
        let group = Arc::clone(&self.group);
        let apart = self.optimizer.apart();
        let part = |group: &ScoredGroup| apart.map(|apart| apart.part_of(&group.group.sample));
        let parts = in_parts(batches.len(), |pass| part(admitted[batches[pass].groups.start]));
        let ranks = if self.options.exact {
            Ranks::in_rounds(&group, &batches, &parts)
        } else {
            Ranks::new(&group, &batches)
        };
        let (mut sums, mut grad_norm) = (Sums::default(), 0.0);
        let updates = if batches.is_empty() { 0 } else { self.config.updates_per_batch };
        for number in 0..updates {
            let seed = self.seed.at(self.step).at(number);
            let (objective, options) = (&self.objective, self.options);
            let update = Update { objective, options, policy, kl_weight, seed };
            // The same inputs are dropped in all updates of a step, so that ratios tell what has been learned.
            let dropped = |policy: &Vlm, pass| policy.with_dropout(&self.config.name, self.step, pass);
            let mut prepared = update.prepare(|pass| dropped(policy, pass), &batches, &ranks)?;
            let mut by_pass = vec![Sums::default(); batches.len()];
            for passes in &parts {
                let mut backward = |policy: &Vlm, pass: usize| {
                    let dropped = dropped(policy, pass);
                    let update = Update { objective, options, policy, kl_weight, seed };
                    let network = dropped.as_ref().unwrap_or(policy.network());
                    let prepared_c = prepared[pass].take();
                    update.backward(network, &mut batches[pass], prepared_c, &mut by_pass[pass]);
                };
                if options.exact {
                    in_order::accumulate(&group, policy, passes, backward)?;
                } else {
                    passes
                        .iter()
                        .filter(|&&pass| ranks.is_own(pass))
                        .for_each(|&pass| backward(policy, pass));
                    self.optimizer.sum_gradients(policy)?;
                }
                if apart.is_some() {
                    self.optimizer.take_part(policy);
                }
            }
            let of_update =
                if options.exact { ranks.sum_in_order(&by_pass)? } else { ranks.sum(&by_pass)? };
            sums.merge(&of_update);
            if number == 0 {
                self.check_mismatch(&of_update)?;
            }
            if number == 0 && updates > 1 {
                share_old(&mut batches, &ranks)?;
            }
            if !sums.loss.is_finite() {
                return Err(self.not_finite(policy, "loss", number, &batches));
            }
            let stats = self.optimizer.update(policy, lr)?;
            if !stats.applied {
                return Err(self.not_finite(policy, "gradient", number, &batches));
            }
            grad_norm += stats.grad_norm / updates as f64;
        }
        self.end_step(policy);

        let mut metrics = sums.metrics(updates);
        metrics.set("grpo/kl_weight", if self.reference.is_some() { kl_weight } else { 0.0 });
        metrics.set("grpo/grad_norm", grad_norm);
        metrics.set("grpo/lr", lr);
        Ok(metrics)
    }

    fn pass_step(&mut self, policy: &Vlm) {
        self.end_step(policy);
    }

    fn diagnose(&mut self, policy: &mut Vlm, groups: &[ScoredGroup]) -> Result<Value, StageError> {
        let admitted: Vec<&ScoredGroup> = groups.iter().filter(|g| g.is_admitted()).collect();
        // The failed step has been counted.
        let kl_weight = self.objective.kl_weight(self.step.saturating_sub(1));
        let groups = diagnose(&self.objective, self.options, policy, &admitted, &self.left_out, kl_weight)?;
        Ok(serde_json::json!({"kl_weight": kl_weight, "groups": groups}))
    }
}

/// Moments, step count and the reference's weights.
impl Checkpointed for GrpoOptimizer {
    fn gather(&self) -> Result<(), StageError> {
        self.optimizer.gather()
    }

    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.optimizer.save(&dir.join(STATE), self.step)?;
        self.reference.as_ref().map_or(Ok(()), |reference| reference.save(dir))
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.step = self.optimizer.load(&dir.join(STATE))?;
        self.reference.as_mut().map_or(Ok(()), |reference| reference.load(dir))
    }
}
