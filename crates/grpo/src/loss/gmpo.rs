//! GMPO: the geometric mean of a completion's clipped token ratios.

use reft_config::ClipRange;
use tch::Tensor;

use super::{PolicyLoss, Scope, TokenLoss, Tokens, bounded_exp, one};

/// `-A exp(mean_t x_t)`, with `x_t` the log-ratio of a token held between `-low` and `high` on the side that the advantage
/// drives to (arXiv 2507.20673, equation 4; clipped in logarithms as verl's `geo_mean`).
///
/// Written for tokens as `sg[G] p_t / sg[p_t]`, or `sg[G]` where a token is held: so that the mean over the tokens has value
/// and gradient of `G = exp(mean_t x_t)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gmpo {
    /// Bounds of the log-ratio.
    pub range: ClipRange,
}

impl Gmpo {
    /// Where the log-ratio is beyond its bound, on the side that the advantage drives to.
    fn held(&self, log_ratio_c: &Tensor, advantage_c: &Tensor) -> Tensor {
        let above_c = log_ratio_c.gt(self.range.high).logical_and(&advantage_c.gt(0.0));
        let below_c = log_ratio_c.lt(-self.range.low).logical_and(&advantage_c.lt(0.0));
        above_c.logical_or(&below_c)
    }
}

impl PolicyLoss for Gmpo {
    fn scope(&self) -> Scope {
        Scope::Completion
    }

    /// `G` of each token's completion.
    fn prepare(&self, all: &Tokens) -> Option<Tensor> {
        let log_ratio_c = all.log_ratio();
        let clamped_c = log_ratio_c.clamp(-self.range.low, self.range.high);
        let x_c = clamped_c.where_self(&self.held(&log_ratio_c, &all.advantage_c), &log_ratio_c);
        Some(bounded_exp(&(all.sum_by_completion(&x_c) / &all.length_c)))
    }

    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let mean_c = tokens.prepared();
        let bounded_c = self.held(&tokens.log_ratio().detach(), &tokens.advantage_c);
        let moves_c = &mean_c * one(&tokens.logprob_c);
        let loss_c = -mean_c.where_self(&bounded_c, &moves_c) * &tokens.advantage_c;
        TokenLoss { loss_c, ratio_c: mean_c, bounded_c }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    /// Two tokens with log-ratios 0.6 and 0.2 and A = 2: the first is held at 0.4, so G = exp(0.3); and one token of
    /// log-ratio 0.6 with A = -1, which is not held.
    #[test]
    fn by_hand() {
        let loss = Gmpo { range: ClipRange { low: 0.4, high: 0.4 } };
        let (logprob, old) = ([-1.0, -2.0, -1.0], [-1.6, -2.2, -1.6]);
        let sum = |x: &Tensor| loss.loss(&prepared(&loss, tokens(x, &old, &[2.0, 2.0, -1.0], &[2, 1])));
        let (g, h) = (0.3_f64.exp(), 0.6_f64.exp());
        let found = sum(&tensor(&logprob));
        close(&found.loss_c, &[-2.0 * g, -2.0 * g, h]);
        close(&found.bounded_c, &[1.0, 0.0, 0.0]);
        close(&gradient(&logprob, |x| sum(x).loss_c), &[0.0, -2.0 * g, h]);
    }
}
