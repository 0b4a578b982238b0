//! GRPO, Dr.GRPO, DAPO and BNPO: the clipped ratio of each token. They differ in clip range and averaging.

use super::{Clip, PolicyLoss, TokenLoss, Tokens, clipped, clipped_surrogate};

/// `-min(r A, clip(r, 1 - low, 1 + high) A)` of each token (GRPO, arXiv 2402.03300, equation 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// Bounds of the ratio.
    pub clip: Clip,
}

impl PolicyLoss for Clipped {
    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let ratio_c = tokens.ratio();
        let value_c = ratio_c.detach();
        TokenLoss {
            loss_c: -clipped_surrogate(&ratio_c, &value_c, &tokens.advantage_c, self.clip),
            bounded_c: clipped(&value_c, &tokens.advantage_c, self.clip.range),
            ratio_c: value_c,
        }
    }
}
