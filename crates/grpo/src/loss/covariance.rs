//! How the log-prob of a token varies with its advantage, over a batch.

use tch::{Kind, Tensor};

use super::Tokens;

/// `(log p - mean log p) (A - mean A)` of each token, means over all tokens of the batch (arXiv 2505.22617, equation 10):
/// tokens with a high one drive the entropy down. Called with all tokens.
pub(super) fn covariance(all: &Tokens) -> Tensor {
    let centred = |x: &Tensor| x.detach() - x.detach().mean(Kind::Double).to_kind(x.kind());
    centred(&all.logprob_c) * centred(&all.advantage_c)
}

/// A share of n tokens, at least one.
pub(super) fn share_of(share: f64, n: i64) -> i64 {
    ((share * n as f64) as i64).clamp(1, n.max(1))
}
