//! Supervised fine-tuning: the mean negative log-likelihood of the demonstrations' tokens.

use std::{path::Path, sync::Arc};

use reft_config::{SftPhase, Shard};
use reft_core::{Checkpointed, Demonstration, Metrics, Seed, StageError, SupervisedTrainer};
use reft_dist::{Group, Op};
use reft_vlm::{
    Vlm,
    model::{Distribution, Keep},
};
use serde_json::{Value, json};
use tch::Kind;

use crate::{
    AdamW, Entropy, GradientTransform, TokenPass,
    demonstration::encode,
    everything_learns, gradient_transform, in_parts, learning_rate,
    ranks::{own_passes, reduce, shared_budget},
    split_by_tokens, split_where,
};

const STATE: &str = "optimizer.safetensors";

/// Fine-tunes on demonstrations. Only the completion's tokens (its end token too) are in the loss, each with weight
/// 1 / tokens of the batch, so micro-batches do not change the result.
pub struct SftTrainer {
    config: SftPhase,
    optimizer: AdamW,
    /// The processes that share an update.
    group: Arc<Group>,
    step: u64,
}

impl SftTrainer {
    /// The trainer of a phase; `seed` is that of the phase.
    pub fn new(config: &SftPhase, seed: Seed) -> Self {
        let this = Self {
            config: config.clone(),
            optimizer: AdamW::new(&config.optimizer, config.trainable, seed),
            group: Arc::default(),
            step: 0,
        };
        this.with_transform(config.gradient.as_ref().map(|config| gradient_transform(config, seed)))
    }

    /// With another gradient transform than the phase's; none leaves gradients as they are.
    #[must_use]
    pub fn with_transform(self, transform: Option<Box<dyn GradientTransform>>) -> Self {
        Self { optimizer: self.optimizer.with_transform(transform), ..self }
    }

    /// With updates that the ranks of a group share: each passes a part of a batch, gradients are added, and the
    /// optimizer's state is divided where `shard` says so.
    #[must_use]
    pub fn with_group(self, group: Arc<Group>, shard: Shard) -> Self {
        let optimizer = self.optimizer.with_group(Arc::clone(&group), shard);
        Self { optimizer, group, ..self }
    }
}

impl SupervisedTrainer<Vlm> for SftTrainer {
    fn begin_phase(&mut self, policy: &Vlm) -> Result<(), StageError> {
        self.optimizer.begin(policy)?;
        self.step = 0;
        Ok(())
    }

    fn examine(&mut self, policy: &mut Vlm, answers: &[Demonstration]) -> Result<Value, StageError> {
        Ok(json!(everything_learns(policy, answers, Keep::new(self.config.recompute))?))
    }

    fn update(&mut self, policy: &mut Vlm, batch: &[Demonstration]) -> Result<Metrics, StageError> {
        if !self.optimizer.has_begun() {
            self.begin_phase(policy)?;
        }
        let encoded = batch.iter().map(|d| encode(policy, d)).collect::<Result<Vec<_>, _>>()?;
        let n_tokens: usize = encoded.iter().map(|(_, completion)| completion.len()).sum();
        let sizes: Vec<usize> = encoded.iter().map(|(prompt, c)| prompt.token_ids.len() + c.len()).collect();

        let keep = Keep::new(self.config.recompute);
        let (mut loss, mut right) = (0.0, 0.0);
        let apart = self.optimizer.apart();
        let part = |i: usize| apart.map(|apart| apart.part_of(&batch[i].sample));
        let budget = shared_budget(self.config.micro_batch_tokens, sizes.iter().sum(), self.group.size());
        let ranges = split_by_tokens(&sizes, budget);
        let ranges = split_where(ranges, |a, b| part(a) == part(b));
        let costs: Vec<usize> = ranges.iter().map(|range| sizes[range.clone()].iter().sum()).collect();
        let own = own_passes(&self.group, &costs);
        for passes in in_parts(ranges.len(), |pass| part(ranges[pass].start)) {
            for pass in passes.into_iter().filter(|&pass| own[pass]) {
                let groups: Vec<_> = encoded[ranges[pass].clone()]
                    .iter()
                    .map(|(prompt, c)| (prompt, vec![c.as_slice()]))
                    .collect();
                let packed = policy.pack(&groups);
                let dropped = policy.with_dropout(&self.config.name, self.step, pass);
                let network = dropped.as_ref().unwrap_or(policy.network());
                let distribution = Distribution::whole(policy.allowed_tokens());
                let pass = TokenPass::new(network, &packed, distribution, keep);
                loss += pass.backward(Entropy::Value, |stats, _| {
                    right += stats.is_top_c.sum(Kind::Double).double_value(&[]);
                    -stats.logprob_c.sum(Kind::Float) / n_tokens as f64
                });
            }
            if apart.is_some() {
                self.optimizer.sum_gradients(policy)?;
                self.optimizer.take_part(policy);
            }
        }
        if apart.is_none() {
            self.optimizer.sum_gradients(policy)?;
        }
        let [loss, right] = reduce(&self.group, [loss, right], Op::Sum)?;
        if !loss.is_finite() {
            self.optimizer.skip(policy);
            return Err(StageError::NonFinite { what: "loss", step: self.step, applied: 0 });
        }

        let lr = learning_rate(self.config.lr, &self.config.optimizer, self.step, self.config.steps);
        let stats = self.optimizer.update(policy, lr)?;
        if !stats.applied {
            return Err(StageError::NonFinite { what: "gradient", step: self.step, applied: 0 });
        }
        self.step += 1;

        let mut metrics = Metrics::new();
        metrics.set("sft/loss", loss);
        metrics.set("sft/token_accuracy", right / n_tokens as f64);
        metrics.set("sft/grad_norm", stats.grad_norm);
        metrics.set("sft/lr", lr);
        metrics.set("sft/tokens", n_tokens as f64);
        Ok(metrics)
    }
}

impl Checkpointed for SftTrainer {
    fn gather(&self) -> Result<(), StageError> {
        self.optimizer.gather()
    }

    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.optimizer.save(&dir.join(STATE), self.step)
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.step = self.optimizer.load(&dir.join(STATE))?;
        Ok(())
    }
}
