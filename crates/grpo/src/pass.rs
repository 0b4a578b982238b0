//! The training pass of a micro-batch: packed, or, with `exact = true`, the rollout's own steps again.

use std::ops::Range;

use reft_config::{Between, GrpoPhase};
use reft_rollout::{ExactEngine, replay};
use reft_train::{Entropy, TokenPass, TokenStats, token_logprobs, token_stats};
use reft_vlm::{
    Vlm,
    model::{Distribution, Keep, Network, PackedBatch},
    processor::EncodedPrompt,
};
use tch::{Tensor, no_grad};

/// How passes are made, by the keys of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassOptions {
    /// Repeat the rollout's own steps.
    pub exact: bool,
    /// Keep only the inputs of layers.
    pub recompute: bool,
    /// Tokens of a micro-batch; 0: all at once.
    pub micro_batch_tokens: usize,
    /// Ranks that share the micro-batches of a batch, of which there are at least as many where it has as many groups.
    pub ranks: usize,
    /// Softmax temperature of the rollout, of groups that do not know theirs.
    pub temperature: f64,
    /// What tells apart parts of a batch whose gradients are wanted one after another.
    pub apart: Option<Between>,
}

impl PassOptions {
    /// As the phase says.
    pub fn new(phase: &GrpoPhase) -> Self {
        Self {
            exact: phase.exact,
            recompute: phase.recompute,
            micro_batch_tokens: phase.micro_batch_tokens,
            ranks: 1,
            temperature: f64::from(phase.sampling.temperature),
            apart: None,
        }
    }
}

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

/// Log-probabilities and entropies of a batch's completion tokens, without gradient.
pub(crate) fn stats(
    network: &Network,
    packed: &PackedBatch,
    steps: Option<&Steps>,
    distribution: Distribution<'_>,
) -> TokenStats {
    match steps {
        None => token_stats(network, packed, distribution),
        Some(steps) => no_grad(|| steps.stats(network, distribution, Entropy::Value)),
    }
}
