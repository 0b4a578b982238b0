//! Clip-Cov: a few of the tokens that drive the entropy down lose their gradient.

use rand::seq::index::sample;
use reft_config::{ClipCovConfig, ClipRange};
use tch::{Kind, Tensor};

use super::{
    Clip, PolicyLoss, Scope, TokenLoss, Tokens, clipped, clipped_surrogate,
    covariance::{covariance, share_of},
};

/// The clipped surrogate of tokens, and none of those that are drawn: `share` of the batch's tokens, out of those whose
/// covariance of log-prob and advantage lies between `low` and `high` and that the clip leaves alone (arXiv 2505.22617,
/// equation 11; verl's `clip_cov`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipCov {
    /// Which tokens are drawn.
    pub config: ClipCovConfig,
    /// Bounds of the ratio.
    pub range: ClipRange,
}

impl PolicyLoss for ClipCov {
    fn scope(&self) -> Scope {
        Scope::Batch
    }

    /// 1 for tokens that learn, 0 for those that were drawn.
    fn prepare(&self, all: &Tokens) -> Option<Tensor> {
        let covariance_c = covariance(all);
        let is_clipped_c = clipped(&all.ratio(), &all.advantage_c, self.range);
        let in_band_c = covariance_c.gt(self.config.low).logical_and(&covariance_c.lt(self.config.high));
        let in_band = in_band_c.logical_and(&is_clipped_c.logical_not()).nonzero().squeeze_dim(1);
        let candidates = in_band.size()[0] as usize;
        let n = share_of(self.config.share, covariance_c.size()[0]) as usize;
        let drawn = sample(&mut all.seed.rng(), candidates, n.min(candidates));
        let drawn: Vec<i64> = drawn.into_iter().map(|i| i as i64).collect();
        let drawn = in_band.index_select(0, &Tensor::from_slice(&drawn).to_device(in_band.device()));
        Some(covariance_c.ones_like().index_fill(0, &drawn, 0.0))
    }

    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let learns_c = tokens.prepared();
        let ratio_c = tokens.ratio();
        let value_c = ratio_c.detach();
        let clip = Clip { range: self.range, dual: None };
        let surrogate_c = clipped_surrogate(&ratio_c, &value_c, &tokens.advantage_c, clip);
        TokenLoss {
            loss_c: -surrogate_c * &learns_c,
            bounded_c: clipped(&value_c, &tokens.advantage_c, self.range)
                .logical_or(&learns_c.to_kind(Kind::Bool).logical_not()),
            ratio_c: value_c,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    /// Log-probs -1, -3, -2, -2 and advantages 2, -2, 1, -1: means -2 and 0, covariances 2, 2, 0, 0.
    #[test]
    fn by_hand() {
        let (logprob, advantage) = ([-1.0, -3.0, -2.0, -2.0], [2.0, -2.0, 1.0, -1.0]);
        let sum = |x: &Tensor, share: f64| {
            let config = ClipCovConfig { share, low: 1.0, high: 5.0 };
            let loss = ClipCov { config, range: ClipRange { low: 1.0, high: 1.0 } };
            loss.loss(&prepared(&loss, tokens(x, &logprob, &advantage, &[1, 2, 1])))
        };
        close(&sum(&tensor(&logprob), 0.5).bounded_c, &[1.0, 1.0, 0.0, 0.0]);
        close(&gradient(&logprob, |x| sum(x, 0.5).loss_c), &[0.0, 0.0, -1.0, 1.0]);
        // At least one, drawn from the two.
        let drawn = sum(&tensor(&logprob), 1e-9).bounded_c.to_kind(Kind::Double);
        let drawn: Vec<f64> = drawn.try_into().unwrap();
        assert!(drawn == [1.0, 0.0, 0.0, 0.0] || drawn == [0.0, 1.0, 0.0, 0.0], "{drawn:?}");
    }
}
