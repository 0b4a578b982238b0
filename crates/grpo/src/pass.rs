//! The training pass of a micro-batch: packed, or, with `exact = true`, the rollout's own steps again.

use std::ops::Range;

use reft_rollout::{ExactEngine, replay};
use reft_train::{Entropy, TokenPass, TokenStats, token_logprobs};
use reft_vlm::{
    Vlm,
    model::{Distribution, Keep, Network, PackedBatch},
    processor::EncodedPrompt,
};
use tch::{Tensor, no_grad};

/// What a replay of one group needs.
pub(crate) struct Steps {
    prompt: PackedBatch,
    completions: Vec<Vec<i64>>,
    /// `[c]` the row of the replay's logits that predicts each completion token, and the token.
    rows_c: Tensor,
    targets_c: Tensor,
    fill: i64,
}

impl Steps {
    pub(crate) fn new(policy: &Vlm, prompt: &EncodedPrompt, completions: &[&[i64]]) -> Self {
        let m = completions.len();
        let rows =
            completions.iter().enumerate().flat_map(|(i, tokens)| (0..tokens.len()).map(move |t| t * m + i));
        let rows: Vec<i64> = rows.map(|row| row as i64).collect();
        Self {
            prompt: policy.pack(&[(prompt, Vec::new())]),
            completions: completions.iter().map(|tokens| tokens.to_vec()).collect(),
            rows_c: Tensor::from_slice(&rows).to_device(policy.device()),
            targets_c: Tensor::from_slice(&completions.concat()).to_device(policy.device()),
            fill: ExactEngine::fill(policy),
        }
    }

    /// `[c, v]` log-probabilities.
    fn log_softmax(&self, network: &Network, distribution: Distribution<'_>) -> Tensor {
        let completions: Vec<&[i64]> = self.completions.iter().map(Vec::as_slice).collect();
        let logits_cv = replay(network, &self.prompt, &completions, self.fill).index_select(0, &self.rows_c);
        distribution.log_softmax(&logits_cv, &(0..self.rows_c.size()[0]))
    }

    fn stats(&self, network: &Network, distribution: Distribution<'_>, entropy: Entropy) -> TokenStats {
        TokenStats::of(&self.log_softmax(network, distribution), &self.targets_c, entropy)
    }
}

/// A forward pass whose completion tokens are then looked at.
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub(crate) enum Pass<'a> {
    /// Chunks of a packed pass.
    Packed(TokenPass<'a>),
    /// All tokens of a replay, whose graph is held in memory.
    Steps(TokenStats),
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        network: &'a Network,
        packed: &'a PackedBatch,
        steps: Option<&Steps>,
        distribution: Distribution<'a>,
        keep: Keep,
        entropy: Entropy,
    ) -> Self {
        match steps {
            None => Self::Packed(TokenPass::new(network, packed, distribution, keep)),
            Some(steps) => Self::Steps(steps.stats(network, distribution, entropy)),
        }
    }

    /// `[c]` log-probabilities, without gradient.
    pub(crate) fn logprobs(&self) -> Tensor {
        match self {
            Self::Packed(pass) => pass.logprobs(),
            Self::Steps(stats) => stats.logprob_c.detach(),
        }
    }

    /// As [`TokenPass::backward`].
    pub(crate) fn backward(
        self,
        entropy: Entropy,
        mut loss: impl FnMut(&TokenStats, &Range<i64>) -> Tensor,
    ) -> f64 {
        match self {
            Self::Packed(pass) => pass.backward(entropy, loss),
            Self::Steps(stats) => {
                let sum = loss(&stats, &(0..stats.logprob_c.size()[0]));
                let value = sum.double_value(&[]);
                if value.is_finite() {
                    sum.backward();
                }
                value
            }
        }
    }
}

/// `[c]` log-probabilities of a batch's completion tokens, without gradient.
pub(crate) fn logprobs(
    network: &Network,
    packed: &PackedBatch,
    steps: Option<&Steps>,
    distribution: Distribution<'_>,
) -> Tensor {
    match steps {
        None => token_logprobs(network, packed, distribution),
        Some(steps) => no_grad(|| steps.stats(network, distribution, Entropy::Value).logprob_c),
    }
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;

#[cfg(test)]
mod tests {
    use reft_core::ScoredGroup;
    use serde_json::{Value, json};
    use tch::Tensor;

    use super::common::{groups, open, phase};
    use crate::{backward::backward, batch::pack, sums::Sums};

    fn gradients(name: &str, keys: &Value) -> Vec<(String, Tensor)> {
        let mut model = open(name);
        let (phase, groups) = (phase(keys), groups());
        let all: Vec<&ScoredGroup> = groups.iter().collect();
        model.learned_mut().zero_grad();
        for mut batch in pack(&phase, &model, &all).unwrap() {
            backward(&phase, &model, model.network(), &mut batch, 0.0, &mut Sums::default());
        }
        let params = model.params().params().iter();
        params.map(|param| (param.spec.name.clone(), model.params().grad(param).copy())).collect()
    }

    /// A replay is another order of the same sums: gradients are those of the packed pass but for rounding.
    #[test]
    fn gradients_of_a_replay_are_those_of_the_packed_pass() {
        for name in ["tiny-vlm", "qwen2-vl/model", "qwen3-vl/model"] {
            let keys = json!({"kl_coef": 0.0, "entropy_coef": 0.1, "sampling": {"temperature": 0.8}});
            let mut exact = keys.clone();
            exact["exact"] = json!(true);
            for ((param, packed), (_, replayed)) in gradients(name, &keys).iter().zip(gradients(name, &exact))
            {
                let scale = packed.norm().double_value(&[]);
                let gap = (packed - replayed).norm().double_value(&[]);
                assert!(gap <= 1e-4 * scale, "{name} {param}: {gap} of {scale}");
            }
        }
    }
}
