//! Tokens at which the policy is undecided learn, the others do not.

use tch::{Kind, Tensor};

use super::{PolicyLoss, Scope, TokenLoss, Tokens};

/// Another loss, on the `share` of the batch's tokens whose entropy is highest; the others count as 0 in the mean (arXiv
/// 2506.01939, equation 5, there with DAPO's loss and a share of 0.2; TRL's `top_entropy_quantile`).
pub struct TopEntropy {
    /// Share of the tokens, above 0 and at most 1.
    pub share: f64,
    /// The loss of those that learn.
    pub inner: Box<dyn PolicyLoss>,
}

impl PolicyLoss for TopEntropy {
    fn scope(&self) -> Scope {
        Scope::Batch
    }

    /// `[c, 1 + k]` 1 for tokens that learn, else 0; then what the inner loss has prepared.
    fn prepare(&self, all: &Tokens) -> Option<Tensor> {
        let entropy_c = all.entropy_c.as_ref()?.detach().to_kind(Kind::Double);
        let n = entropy_c.size()[0];
        if n == 0 {
            return None;
        }
        // The quantile between neighbours, as `torch.quantile` has it, which takes no more than 16 million numbers.
        let at = (1.0 - self.share) * (n - 1) as f64;
        let (sorted_c, _) = entropy_c.sort(0, false);
        let (low, high) = (at.floor() as i64, at.ceil() as i64);
        let (low, high) = (sorted_c.double_value(&[low]), sorted_c.double_value(&[high]));
        let least = low + (high - low) * at.fract();
        let learns_c1 = entropy_c.ge(least).to_kind(all.old_c.kind()).unsqueeze(1);
        let inner = self.inner.prepare(all).map(|inner| inner.reshape([n, -1]));
        Some(inner.map_or_else(|| learns_c1.shallow_clone(), |inner| Tensor::cat(&[&learns_c1, &inner], 1)))
    }

    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let prepared = tokens.prepared();
        let learns_c = prepared.select(1, 0);
        let of_inner = match prepared.size()[1] - 1 {
            0 => None,
            1 => Some(prepared.select(1, 1)),
            k => Some(prepared.narrow(1, 1, k)),
        };
        let inner = self.inner.loss(&Tokens { prepared_c: of_inner, ..tokens.map(Tensor::shallow_clone) });
        TokenLoss {
            loss_c: inner.loss_c * &learns_c,
            bounded_c: inner.bounded_c.logical_or(&learns_c.to_kind(Kind::Bool).logical_not()),
            ratio_c: inner.ratio_c,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Reinforce, super::tests_common::*, *};

    /// Of five tokens the 40 % with the highest entropy, at or above the quantile 0.6 of 0.1, 0.2, 0.3, 0.4, 0.5: 0.34.
    #[test]
    fn by_hand() {
        let loss = TopEntropy { share: 0.4, inner: Box::new(Reinforce) };
        let logprob = [-1.0, -2.0, -3.0, -4.0, -5.0];
        let sum = |x: &Tensor| {
            let mut tokens = tokens(x, &logprob, &[1.0; 5], &[2, 3]);
            tokens.entropy_c = Some(tensor(&[0.4, 0.1, 0.5, 0.2, 0.3]));
            loss.loss(&prepared(&loss, tokens))
        };
        close(&sum(&tensor(&logprob)).loss_c, &[1.0, 0.0, 3.0, 0.0, 0.0]);
        close(&gradient(&logprob, |x| sum(x).loss_c), &[-1.0, 0.0, -1.0, 0.0, 0.0]);
    }
}
