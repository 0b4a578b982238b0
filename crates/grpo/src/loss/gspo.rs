//! GSPO: one ratio per completion, the geometric mean of its tokens' ratios.

use tch::Tensor;

use super::{
    Clip, PolicyLoss, Scope, TokenLoss, Tokens, bounded_exp, clipped, clipped_surrogate, mean_ratio,
};

/// `-min(s A, clip(s, 1 - low, 1 + high) A)` with `s = exp(mean_t log r_t)` (arXiv 2507.18071, equations 5 and 7), computed
/// token by token as in equation 14.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gspo {
    /// Bounds of the ratio.
    pub clip: Clip,
}

impl PolicyLoss for Gspo {
    fn scope(&self) -> Scope {
        Scope::Completion
    }

    /// The summed log-ratio of each token's completion.
    fn prepare(&self, all: &Tokens) -> Option<Tensor> {
        Some(all.sum_by_completion(&all.log_ratio()))
    }

    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let summed_c = tokens.prepared();
        let ratio_c = mean_ratio(&tokens.logprob_c, &summed_c, &tokens.length_c);
        let value_c = bounded_exp(&(summed_c / &tokens.length_c));
        TokenLoss {
            loss_c: -clipped_surrogate(&ratio_c, &value_c, &tokens.advantage_c, self.clip),
            bounded_c: clipped(&value_c, &tokens.advantage_c, self.clip.range),
            ratio_c: value_c,
        }
    }
}
