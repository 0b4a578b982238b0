//! KL-Cov: the tokens that drive the entropy down most are held to where they were.

use reft_config::KlCovConfig;
use tch::{Kind, Tensor};

use super::{
    PolicyLoss, Scope, TokenLoss, Tokens,
    covariance::{covariance, share_of},
};

/// `-r A`, and `coef |log p - log p_old|` more on the `share` of the batch's tokens whose covariance of log-prob and
/// advantage is highest (arXiv 2505.22617, equation 13; verl's `kl_cov`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlCov {
    /// Which tokens are held, and how much.
    pub config: KlCovConfig,
}

impl PolicyLoss for KlCov {
    fn scope(&self) -> Scope {
        Scope::Batch
    }

    /// 1 for tokens that are held, else 0.
    fn prepare(&self, all: &Tokens) -> Option<Tensor> {
        let covariance_c = covariance(all);
        let n = covariance_c.size()[0];
        let (_, highest) = covariance_c.topk(share_of(self.config.share, n).min(n), 0, true, false);
        Some(covariance_c.zeros_like().index_fill(0, &highest, 1.0))
    }

    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let held_c = tokens.prepared();
        let ratio_c = tokens.ratio();
        let penalty_c = tokens.log_ratio().abs() * &held_c * self.config.coef;
        TokenLoss {
            loss_c: penalty_c - &ratio_c * &tokens.advantage_c,
            ratio_c: ratio_c.detach(),
            bounded_c: held_c.to_kind(Kind::Bool),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    /// Covariances 2, 1, 0: the first of three tokens is held.
    #[test]
    fn by_hand() {
        let (logprob, old, advantage) = ([-1.0, -3.0, -2.0], [-1.5, -3.0, -2.0], [2.0, -1.0, -1.0]);
        let loss = KlCov { config: KlCovConfig { share: 0.4, coef: 3.0 } };
        let sum = |x: &Tensor| loss.loss(&prepared(&loss, tokens(x, &old, &advantage, &[1, 1, 1])));
        let r = 0.5_f64.exp();
        let found = sum(&tensor(&logprob));
        close(&found.loss_c, &[1.5 - 2.0 * r, 1.0, 1.0]);
        close(&found.bounded_c, &[1.0, 0.0, 0.0]);
        close(&gradient(&logprob, |x| sum(x).loss_c), &[3.0 - 2.0 * r, 1.0, 1.0]);
    }
}
