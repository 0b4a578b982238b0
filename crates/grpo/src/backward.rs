//! Loss and gradient of one micro-batch.

use reft_core::{Seed, StageError};
use reft_train::{Entropy, TokenStats};
use reft_vlm::{
    Vlm,
    model::{Keep, Network},
};
use tch::{Tensor, no_grad};

use crate::{
    Objective, Scope, Tokens,
    batch::MicroBatch,
    correction::importance,
    pass::{Pass, PassOptions},
    ranks::Ranks,
    sums::Sums,
};

/// One update on a batch, as all of its micro-batches see it.
#[derive(Clone, Copy)]
pub(crate) struct Update<'a> {
    pub(crate) objective: &'a Objective,
    pub(crate) options: PassOptions,
    pub(crate) policy: &'a Vlm,
    pub(crate) kl_weight: f64,
    /// Of the phase, step and update, for losses that draw.
    pub(crate) seed: Seed,
}

impl Update<'_> {
    /// Adds the gradient of one micro-batch to the parameters', and its numbers to the sums. `network` is the policy's, or
    /// one that leaves some inputs out; `prepared_c` is what a loss of [`Scope::Batch`] has prepared for these tokens.
    pub(crate) fn backward(
        &self,
        network: &Network,
        batch: &mut MicroBatch,
        prepared_c: Option<Tensor>,
        sums: &mut Sums,
    ) {
        let Self { objective, options, policy, kl_weight, seed } = *self;
        let keep = Keep::new(options.recompute);
        let entropy = if objective.has_entropy_bonus() { Entropy::WithGradient } else { Entropy::Value };
        let distribution = batch.distribution(policy);
        let packed = batch.packed(policy);
        let pass = Pass::new(network, &packed, batch.steps.as_ref(), distribution, keep, entropy);

        // At the first update every ratio is 1 by construction; its gradient is the policy gradient.
        let is_first = batch.old_c.is_none();
        let loss = objective.policy();
        let now_c = (loss.scope() == Scope::Completion && !is_first).then(|| pass.logprobs());
        let mut all = batch.tokens(now_c, None, seed);
        all.prepared_c = match loss.scope() {
            Scope::Completion => no_grad(|| loss.prepare(&all)),
            Scope::Token | Scope::Batch => prepared_c,
        };

        // A completion's ratio wants all of its log-probs before the gradient of any.
        let correction = objective.correction().filter(|_| is_first);
        let by_sequence = correction.filter(|config| config.mode.is_by_sequence()).map(|config| {
            let found = importance(config, &all, &(pass.logprobs() - &all.rollout_c));
            sums.correct(&found);
            found.weight_c
        });

        let (mut first_logprobs, mut first_weights) = (Vec::new(), Vec::new());
        sums.loss += pass.backward(entropy, |stats, range| {
            let mut tokens = all.part(range, &stats.logprob_c, &stats.entropy_c);
            if is_first {
                tokens.old_c = stats.logprob_c.detach();
            }
            let mut terms = batch.terms(range, kl_weight, &stats.entropy_c);
            if let Some(config) = correction {
                let weight_c = by_sequence.as_ref().map_or_else(
                    || {
                        let found = importance(config, &tokens, &(&tokens.old_c - &tokens.rollout_c));
                        sums.correct(&found);
                        found.weight_c
                    },
                    |weight_c| weight_c.narrow(0, range.start, range.end - range.start),
                );
                first_weights.push(weight_c.shallow_clone());
                terms.importance_c = Some(weight_c);
            }
            let sum = objective.sum(&tokens, &terms);
            sums.add(&sum, &stats.entropy_c);
            if is_first {
                sums.compare(&tokens, &batch.shows_image(range));
                first_logprobs.push(tokens.old_c);
            }
            sum.sum
        });
        if is_first {
            batch.old_c = Some(Tensor::cat(&first_logprobs, 0));
            if !first_weights.is_empty() {
                batch.importance_c = Some(Tensor::cat(&first_weights, 0));
            }
        }
    }

    /// For each micro-batch what a loss of [`Scope::Batch`] prepares from all tokens before the gradient of any, by a
    /// forward pass of its own; none for other losses. `network` gives the network of a micro-batch by its number, where
    /// it is not the policy's.
    pub(crate) fn prepare(
        &self,
        network: impl Fn(usize) -> Option<Network>,
        batches: &[MicroBatch],
        ranks: &Ranks<'_>,
    ) -> Result<Vec<Option<Tensor>>, StageError> {
        let nothing = || batches.iter().map(|_| None).collect();
        if self.objective.policy().scope() < Scope::Batch {
            return Ok(nothing());
        }
        let stats = batches.iter().enumerate().map(|(i, batch)| {
            let own = network(i);
            ranks.is_own(i).then(|| batch.stats(own.as_ref().unwrap_or(self.policy.network()), self.policy))
        });
        let stats: Vec<Option<TokenStats>> = stats.collect();
        let all = |of: fn(&TokenStats) -> &Tensor| {
            ranks.gather(batches, |pass, batch| {
                stats[pass]
                    .as_ref()
                    .map_or_else(|| batch.rollout_c.zeros_like(), |stats| of(stats).shallow_clone())
            })
        };
        let (logprobs, entropies) = (all(|stats| &stats.logprob_c)?, all(|stats| &stats.entropy_c)?);
        let numbers = logprobs.into_iter().zip(entropies);
        let parts: Vec<_> = batches
            .iter()
            .zip(numbers)
            .map(|(batch, (logprob_c, entropy_c))| batch.tokens(Some(logprob_c), Some(entropy_c), self.seed))
            .collect();
        let sizes: Vec<i64> = parts.iter().map(|part| part.logprob_c.size()[0]).collect();
        let weights: Vec<&Tensor> = batches.iter().map(|batch| &batch.weight_c).collect();
        let prepared_c =
            no_grad(|| self.prepare_all(&Tokens::concat(&parts, self.seed), &Tensor::cat(&weights, 0)));
        Ok(match prepared_c {
            Some(prepared_c) => prepared_c.split_with_sizes(&sizes, 0).into_iter().map(Some).collect(),
            None => nothing(),
        })
    }

    /// What the loss prepares, from the tokens that have a weight: others must not decide about them, and get 0.
    fn prepare_all(&self, all: &Tokens, weight_c: &Tensor) -> Option<Tensor> {
        let loss = self.objective.policy();
        let teaching = weight_c.nonzero().squeeze_dim(1);
        if teaching.numel() == 0 {
            return loss.prepare(all);
        }
        let prepared = loss.prepare(&all.map(|x| x.index_select(0, &teaching)))?;
        let mut shape = prepared.size();
        shape[0] = weight_c.size()[0];
        Some(
            prepared
                .new_zeros(shape, (prepared.kind(), prepared.device()))
                .index_copy(0, &teaching, &prepared),
        )
    }
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;

#[cfg(test)]
mod tests {
    use reft_core::{ScoredGroup, Seed};
    use serde_json::{Value, json};
    use tch::Tensor;

    use super::{
        Update,
        common::{groups, open, phase},
    };
    use crate::{Objective, PassOptions, batch::split, sums::Sums};

    fn gradients(name: &str, keys: &Value) -> Vec<(String, Tensor)> {
        gradients_after(name, keys, 1.0)
    }

    /// With rollouts that were drawn from a policy whose every probability is that of the trainer over `ratio`.
    fn gradients_after(name: &str, keys: &Value, ratio: f64) -> Vec<(String, Tensor)> {
        let mut model = open(name);
        let (phase, groups) = (phase(keys), groups());
        let all: Vec<&ScoredGroup> = groups.iter().collect();
        let (objective, options) = (&Objective::new(&phase), PassOptions::new(&phase));
        model.learned_mut().zero_grad();
        let update = Update { objective, options, policy: &model, kl_weight: 0.0, seed: Seed::new(1) };
        for mut batch in split(objective, options, &model, &all).unwrap() {
            if ratio != 1.0 {
                batch.rollout_c = batch.stats(model.network(), &model).logprob_c - ratio.ln();
            }
            update.backward(model.network(), &mut batch, None, &mut Sums::default());
        }
        let params = model.params().params().iter();
        params.map(|param| (param.spec.name.clone(), model.params().grad(param).copy())).collect()
    }

    /// A replay is another order of the same sums: gradients are those of the packed pass but for rounding.
    #[test]
    fn gradients_of_a_replay_are_those_of_the_packed_pass() {
        for name in [
            "tiny-vlm",
            "qwen2-vl/model",
            "qwen3-vl/model",
            "qwen3_5/model",
            "smolvlm/model",
            "internvl-qwen3/model",
        ] {
            let keys = json!({"kl_coef": 0.0, "entropy_coef": 0.1, "sampling": {"temperature": 0.8}});
            let mut exact = keys.clone();
            exact["exact"] = json!(true);
            for ((param, packed), (_, replayed)) in gradients(name, &keys).iter().zip(gradients(name, &exact))
            {
                let scale = packed.norm().double_value(&[]);
                let gap = (packed - replayed).norm().double_value(&[]);
                // Some gradients are 0 but for rounding: those of key biases without rotary positions.
                assert!(gap <= 1e-4 * scale + 1e-6, "{name} {param}: {gap} of {scale}");
            }
        }
    }

    /// The gradient of the policy loss is that without a correction times the weight, which is the same for all tokens here;
    /// that of the KL penalty is left as it is.
    #[test]
    fn importance_weighs_the_policy_loss() {
        let plain = gradients_after("tiny-vlm", &json!({"kl_coef": 0.0}), 1.5);
        for (correction, expected) in [
            (json!({"mode": "token_truncate"}), 1.5),
            (json!({"mode": "token_truncate", "clip_max": 1.2}), 1.2),
            (json!({"mode": "token_mask", "clip_max": 1.2}), 0.0),
            (json!({"mode": "sequence_truncate", "clip_max": 1.3}), 1.3),
            (json!({"mode": "sequence_mask"}), 0.0),
        ] {
            let keys = json!({"kl_coef": 0.0, "correction": correction});
            for ((param, plain), (_, found)) in plain.iter().zip(gradients_after("tiny-vlm", &keys, 1.5)) {
                let gap = (plain * expected - found).norm().double_value(&[]);
                assert!(gap <= 1e-5 * plain.norm().double_value(&[]) + 1e-7, "{correction} {param}: {gap}");
            }
        }
    }
}
