//! The policy loss that a phase asks for.

use reft_config::{ClipRange, GrpoPhase, LossConfig, SapoConfig};
use tch::{Kind, Tensor};

use super::{
    bounded_exp,
    cispo::cispo,
    clip::{Clip, clipped, clipped_surrogate},
    ratio::{RatioLevel, mean_ratio, product_ratio, token_ratio},
    sapo::sapo,
};

/// The policy loss, without KL penalty and entropy bonus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PolicyLoss {
    /// The clipped surrogate of a ratio: GRPO, Dr.GRPO, DAPO, BNPO (of tokens), GSPO and RLOO (of completions).
    Clipped(RatioLevel, Clip),
    /// A bounded weight on the log-prob.
    Cispo(ClipRange),
    /// A soft gate.
    Sapo(SapoConfig),
    /// The log-prob.
    Reinforce,
}

/// What a loss may know of tokens, `[c]` each.
pub struct Tokens<'a> {
    /// Log-probs with gradient.
    pub logprob_c: &'a Tensor,
    /// Log-probs when the batch was sampled.
    pub old_c: &'a Tensor,
    /// Advantages.
    pub advantage_c: &'a Tensor,
    /// Sum of `log p - log p_old` over the token's completion, without gradient.
    pub summed_c: &'a Tensor,
    /// Tokens of the token's completion.
    pub length_c: &'a Tensor,
}

impl PolicyLoss {
    /// As the phase says.
    pub fn new(phase: &GrpoPhase) -> Self {
        // Losses that do not clip never look at the range.
        let range = phase.clip_range().unwrap_or(ClipRange { low: 1.0, high: f64::INFINITY });
        let clip = Clip { range, dual: phase.dual_clip };
        match phase.loss {
            LossConfig::Grpo | LossConfig::DrGrpo | LossConfig::Dapo | LossConfig::Bnpo => {
                Self::Clipped(RatioLevel::Token, clip)
            }
            LossConfig::Gspo => Self::Clipped(RatioLevel::Mean, clip),
            LossConfig::Rloo => Self::Clipped(RatioLevel::Product, clip),
            LossConfig::Cispo => Self::Cispo(range),
            LossConfig::Sapo(config) => Self::Sapo(config),
            LossConfig::Reinforce => Self::Reinforce,
        }
    }

    /// Whether the loss of a token depends on the other tokens of its completion, [`Tokens::summed_c`].
    pub fn is_of_completions(self) -> bool {
        matches!(self, Self::Clipped(RatioLevel::Mean | RatioLevel::Product, _))
    }

    /// `[c]` loss of each token, to be minimised.
    pub fn loss(self, tokens: &Tokens<'_>) -> Tensor {
        let &Tokens { logprob_c, old_c, advantage_c, summed_c, length_c } = tokens;
        -match self {
            Self::Clipped(level, clip) => {
                let ratio_c = match level {
                    RatioLevel::Token => token_ratio(logprob_c, old_c),
                    RatioLevel::Mean => mean_ratio(logprob_c, summed_c, length_c),
                    RatioLevel::Product => product_ratio(logprob_c, summed_c, length_c),
                };
                clipped_surrogate(&ratio_c, &self.ratio(tokens), advantage_c, clip)
            }
            Self::Cispo(range) => cispo(logprob_c, &token_ratio(logprob_c, old_c), advantage_c, range),
            Self::Sapo(config) => sapo(&token_ratio(logprob_c, old_c), advantage_c, config),
            Self::Reinforce => logprob_c * advantage_c,
        }
    }

    /// `[c]` the ratio that the loss bounds, without gradient: of the token, or of its completion.
    pub fn ratio(self, tokens: &Tokens<'_>) -> Tensor {
        match self {
            Self::Clipped(RatioLevel::Mean, _) => bounded_exp(&(tokens.summed_c / tokens.length_c)),
            Self::Clipped(RatioLevel::Product, _) => bounded_exp(tokens.summed_c),
            Self::Clipped(RatioLevel::Token, _) | Self::Cispo(_) | Self::Sapo(_) | Self::Reinforce => {
                token_ratio(tokens.logprob_c, tokens.old_c).detach()
            }
        }
    }

    /// `[c]` 1 where the bound acts on the token (its gradient is stopped, or its weight cut), else 0.
    pub fn bounded(self, ratio_c: &Tensor, advantage_c: &Tensor) -> Tensor {
        let bounded_c = match self {
            Self::Clipped(_, clip) => clipped(ratio_c, advantage_c, clip.range),
            Self::Cispo(range) => ratio_c.gt(1.0 + range.high).logical_or(&ratio_c.lt(1.0 - range.low)),
            Self::Sapo(_) | Self::Reinforce => ratio_c.zeros_like(),
        };
        bounded_c.to_kind(Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    fn phase(value: &str) -> GrpoPhase {
        let text = format!(r#"{{"name": "p", "data": "d", "steps": 1, {value}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    /// At ratio 1 every loss of the first update has the gradient of `-A log p`, per token or per completion.
    #[test]
    fn on_policy_all_losses_are_the_policy_gradient() {
        let (logprob, advantage) = ([-1.0, -2.0, -0.5], [0.5, -1.5, -1.5]);
        let length = tensor(&[1.0, 2.0, 2.0]);
        for name in ["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo", "sapo", "rloo", "reinforce"] {
            let loss = PolicyLoss::new(&phase(&format!(r#""loss": {{"type": "{name}"}}"#)));
            let slope = gradient(&logprob, |x| {
                loss.loss(&Tokens {
                    logprob_c: x,
                    old_c: &x.detach(),
                    advantage_c: &tensor(&advantage),
                    summed_c: &zeros(3),
                    length_c: &length,
                })
            });
            close(&slope, &[-0.5, 1.5, 1.5]);
        }
    }
}
