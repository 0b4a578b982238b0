//! What is minimised: policy loss, KL penalty and entropy bonus of tokens, weighted and added up.

use reft_config::{GrpoPhase, KlConfig, KlPlace};
use tch::{Kind, Tensor};

use super::{PolicyLoss, Tokens, kl_with_gradient};

/// The loss of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The policy's part.
    pub policy: PolicyLoss,
    /// Weight of the mean entropy.
    pub entropy_coef: f64,
    kl: KlConfig,
}

/// What comes beside the policy loss, `[c]` each.
pub struct Terms<'a> {
    /// Weight of each token in the mean over the batch.
    pub weight_c: &'a Tensor,
    /// Log-probs of the reference; none without a penalty.
    pub reference_c: Option<&'a Tensor>,
    /// Weight of each token's KL penalty.
    pub kl_weight_c: &'a Tensor,
    /// Entropies, with gradient when they are in the loss.
    pub entropy_c: &'a Tensor,
    /// 1 over the completion tokens of the batch.
    pub share: f64,
}

impl Objective {
    /// As the phase says.
    pub fn new(phase: &GrpoPhase) -> Self {
        Self { policy: PolicyLoss::new(phase), entropy_coef: phase.entropy_coef, kl: phase.kl }
    }

    /// `sum_c weight (policy loss + kl_weight kl) - entropy_coef mean entropy` over a few tokens, and `[c]` the
    /// divergences. A penalty that is in the reward adds nothing here.
    pub fn sum(&self, tokens: &Tokens<'_>, terms: &Terms<'_>) -> (Tensor, Option<Tensor>) {
        let mut loss_c = self.policy.loss(tokens);
        let gradient = self.kl.gradient.unwrap_or(self.kl.estimator);
        let kl_c = terms
            .reference_c
            .map(|reference_c| kl_with_gradient(self.kl.estimator, gradient, tokens.logprob_c, reference_c));
        if let (Some(kl_c), KlPlace::Loss) = (&kl_c, self.kl.place) {
            loss_c += kl_c * terms.kl_weight_c;
        }
        let mut sum = (loss_c * terms.weight_c).sum(tokens.logprob_c.kind());
        if self.entropy_coef > 0.0 {
            sum -= terms.entropy_c.sum(Kind::Float) * (self.entropy_coef * terms.share);
        }
        (sum, kl_c)
    }
}
