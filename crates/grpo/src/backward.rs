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

        let mut first_logprobs = Vec::new();
        sums.loss += pass.backward(entropy, |stats, range| {
            let mut tokens = all.part(range, &stats.logprob_c, &stats.entropy_c);
            if is_first {
                tokens.old_c = stats.logprob_c.detach();
            }
            let sum = objective.sum(&tokens, &batch.terms(range, kl_weight, &stats.entropy_c));
            sums.add(&sum, &stats.entropy_c);
            if is_first {
                sums.compare(&tokens);
                first_logprobs.push(tokens.old_c);
            }
            sum.sum
        });
        if is_first {
            batch.old_c = Some(Tensor::cat(&first_logprobs, 0));
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
        let mut model = open(name);
        let (phase, groups) = (phase(keys), groups());
        let all: Vec<&ScoredGroup> = groups.iter().collect();
        let (objective, options) = (&Objective::new(&phase), PassOptions::new(&phase));
        model.learned_mut().zero_grad();
        let update = Update { objective, options, policy: &model, kl_weight: 0.0, seed: Seed::new(1) };
        for mut batch in split(objective, options, &model, &all).unwrap() {
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
}
