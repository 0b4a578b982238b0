//! What is minimised: policy loss, KL penalty and entropy bonus of tokens, weighted and added up. Made once from a phase.

use reft_config::{CorrectionConfig, GrpoPhase, KlConfig, KlPlace, LossScale};
use tch::{Kind, Tensor};

use crate::{
    PolicyLoss, TokenLoss, Tokens, difficulty_weight, kl, kl_weight, kl_with_gradient, policy_loss,
    token_weights,
};

/// The objective of a phase.
pub struct Objective {
    policy: Box<dyn PolicyLoss>,
    scale: LossScale,
    max_new_tokens: usize,
    entropy_coef: f64,
    correction: Option<CorrectionConfig>,
    kl: KlConfig,
    kl_coef: f64,
    /// Steps of the phase, over which the KL weight takes its course.
    steps: u64,
}

/// What comes beside the policy loss, `[c]` each.
pub struct Terms {
    /// Weight of each token in the mean over the batch.
    pub weight_c: Tensor,
    /// Log-probs of the reference; none without a penalty.
    pub reference_c: Option<Tensor>,
    /// Weight of each token's KL penalty.
    pub kl_weight_c: Tensor,
    /// Entropies, with gradient when they are in the loss.
    pub entropy_c: Tensor,
    /// 1 over the completion tokens of the batch.
    pub share: f64,
    /// Importance weights of the policy loss; none leaves it as it is.
    pub importance_c: Option<Tensor>,
}

/// The objective over some tokens, and what it is made of.
pub struct Sum {
    /// `sum_c weight (policy loss + kl_weight kl) - entropy_coef mean entropy`, with gradient.
    pub sum: Tensor,
    /// The policy's part.
    pub policy: TokenLoss,
    /// `[c]` divergences from the reference.
    pub kl_c: Option<Tensor>,
}

impl Objective {
    /// As the phase says.
    pub fn new(phase: &GrpoPhase) -> Self {
        Self {
            policy: policy_loss(phase),
            scale: phase.scale(),
            max_new_tokens: phase.sampling.max_new_tokens,
            entropy_coef: phase.entropy_coef,
            correction: phase.correction(),
            kl: phase.kl,
            kl_coef: phase.kl_coef,
            steps: phase.steps,
        }
    }

    /// With another policy loss.
    #[must_use]
    pub fn with_loss(self, policy: Box<dyn PolicyLoss>) -> Self {
        Self { policy, ..self }
    }

    /// The policy's part.
    pub fn policy(&self) -> &dyn PolicyLoss {
        &*self.policy
    }

    /// What makes up for answers of another engine.
    pub(crate) fn correction(&self) -> Option<&CorrectionConfig> {
        self.correction.as_ref()
    }

    /// Where the KL penalty acts.
    pub(crate) fn kl_place(&self) -> KlPlace {
        self.kl.place
    }

    /// Whether gradients go back through the entropy.
    pub(crate) fn has_entropy_bonus(&self) -> bool {
        self.entropy_coef > 0.0
    }

    /// Weight of the KL penalty at a step, from 0.
    pub fn kl_weight(&self, step: u64) -> f64 {
        kl_weight(self.kl.schedule, self.kl_coef, step, self.steps)
    }

    /// What the difficulty of a question makes of the KL weight of a completion.
    pub(crate) fn kl_scale(&self, pass_rate: f64, advantage: f32) -> f32 {
        let by_difficulty = self.kl.by_difficulty && self.kl.place == KlPlace::Loss;
        if by_difficulty { difficulty_weight(pass_rate, advantage) as f32 } else { 1.0 }
    }

    /// `[c]` weight of each token, for all completions of a batch: of these lengths, one after another.
    pub fn token_weights(&self, lengths: &[usize]) -> Vec<f32> {
        token_weights(lengths, self.scale, self.max_new_tokens)
    }

    /// `[c]` divergence of log-probs from those of the reference.
    pub fn kl(&self, logprob_c: &Tensor, reference_c: &Tensor) -> Tensor {
        kl(self.kl.estimator, logprob_c, reference_c)
    }

    /// The objective over a few tokens. A penalty that is in the reward adds nothing here.
    pub fn sum(&self, tokens: &Tokens, terms: &Terms) -> Sum {
        let mut policy = self.policy.loss(tokens);
        if let Some(importance_c) = &terms.importance_c {
            policy.loss_c *= importance_c;
        }
        let gradient = self.kl.gradient.unwrap_or(self.kl.estimator);
        let kl_c = terms
            .reference_c
            .as_ref()
            .map(|reference_c| kl_with_gradient(self.kl.estimator, gradient, &tokens.logprob_c, reference_c));
        let loss_c = match (&kl_c, self.kl.place) {
            (Some(kl_c), KlPlace::Loss) => &policy.loss_c + kl_c * &terms.kl_weight_c,
            _ => policy.loss_c.shallow_clone(),
        };
        let mut sum = (loss_c * &terms.weight_c).sum(tokens.logprob_c.kind());
        if self.entropy_coef > 0.0 {
            sum -= terms.entropy_c.sum(Kind::Float) * (self.entropy_coef * terms.share);
        }
        Sum { sum, policy, kl_c }
    }
}
