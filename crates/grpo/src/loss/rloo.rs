//! RLOO: one ratio per completion, the product of its tokens' ratios.

use tch::Tensor;

use super::{
    Clip, PolicyLoss, Scope, TokenLoss, Tokens, bounded_exp, clipped, clipped_surrogate, product_ratio,
};

/// `-min(R A, clip(R, 1 - low, 1 + high) A)` with `R = prod_t r_t`, once per completion (arXiv 2402.14740, as TRL's
/// `RLOOTrainer` computes it with a ratio): every token has its share of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rloo {
    /// Bounds of the ratio.
    pub clip: Clip,
}

impl PolicyLoss for Rloo {
    fn scope(&self) -> Scope {
        Scope::Completion
    }

    /// The summed log-ratio of each token's completion.
    fn prepare(&self, all: &Tokens) -> Option<Tensor> {
        Some(all.sum_by_completion(&all.log_ratio()))
    }

    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let summed_c = tokens.prepared();
        let share_c = product_ratio(&tokens.logprob_c, &summed_c, &tokens.length_c);
        let value_c = bounded_exp(&summed_c);
        TokenLoss {
            loss_c: -clipped_surrogate(&share_c, &value_c, &tokens.advantage_c, self.clip),
            bounded_c: clipped(&value_c, &tokens.advantage_c, self.clip.range),
            ratio_c: value_c,
        }
    }
}
