//! CISPO: clipped importance weights instead of clipped updates.

use reft_config::ClipRange;
use tch::Tensor;

use super::{PolicyLoss, TokenLoss, Tokens};

/// `-sg[clip(r, 1 - low, 1 + high)] A log p`, see [`cispo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cispo {
    /// Bounds of the weight.
    pub range: ClipRange,
}

impl PolicyLoss for Cispo {
    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let ratio_c = tokens.ratio().detach();
        let above_c = ratio_c.gt(1.0 + self.range.high);
        TokenLoss {
            loss_c: -cispo(&tokens.logprob_c, &ratio_c, &tokens.advantage_c, self.range),
            bounded_c: above_c.logical_or(&ratio_c.lt(1.0 - self.range.low)),
            ratio_c,
        }
    }
}

/// `sg[clip(r, 1 - low, 1 + high)] A log p` (MiniMax-M1, arXiv 2506.13585, equations 4 and 5): a far-off token still
/// learns, with a bounded weight. To be maximised.
pub fn cispo(logprob_c: &Tensor, ratio_c: &Tensor, advantage_c: &Tensor, range: ClipRange) -> Tensor {
    ratio_c.detach().clamp(1.0 - range.low, 1.0 + range.high) * advantage_c * logprob_c
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    #[test]
    fn by_hand() {
        let (ratio, advantage) = (tensor(&[7.0, 0.5]), tensor(&[2.0, -1.0]));
        let range = ClipRange { low: 1.0, high: 4.0 };
        let loss = |logprob: &Tensor| cispo(logprob, &ratio, &advantage, range);
        close(&loss(&tensor(&[-0.1, -3.0])), &[-1.0, 1.5]);
        close(&gradient(&[-0.1, -3.0], loss), &[10.0, -0.5]);
    }
}
