//! Losses that are sums over completion tokens, computed in chunks of the vocabulary's rows.
//!
//! Logits of all tokens are never held at once. Per chunk: head, log-softmax, loss, and at once the backward pass down to
//! the hidden states, whose gradient is collected; then one backward pass through the network with that gradient.
//! By the chain rule this is the gradient of the whole sum.
//!
//! Axes in tensor names: c predicted token, t packed token, v vocabulary, d width.

use std::ops::Range;

use reft_vlm::model::{Network, PackedBatch};
use tch::{Kind, Tensor, no_grad};

/// Rows of logits at a time: 1,024 rows of Qwen's 152 k vocabulary are 0.6 GB in fp32.
const CHUNK: i64 = 1024;

/// Log-probability and entropy of predicted tokens.
pub struct TokenStats {
    /// `[c]` log-probability of the tokens that were chosen.
    pub logprob_c: Tensor,
    /// `[c]` entropy of the distribution, without gradient.
    pub entropy_c: Tensor,
    /// `[c]` whether the chosen token was the most likely one.
    pub is_top_c: Tensor,
}

impl TokenStats {
    /// Of one chunk: the distribution is `softmax((logits + allowed) / temperature)`, as in sampling.
    fn new(
        network: &Network,
        hidden_cd: &Tensor,
        targets_c: &Tensor,
        allowed_v: &Tensor,
        temperature: f64,
    ) -> Self {
        let logits_cv = (network.decoder.logits(hidden_cd) + allowed_v) / temperature;
        let log_softmax_cv = logits_cv.log_softmax(-1, Kind::Float);
        let logprob_c = log_softmax_cv.gather(1, &targets_c.unsqueeze(1), false).squeeze_dim(1);
        let (entropy_c, is_top_c) = no_grad(|| {
            // Tokens that are not allowed have probability 0 and log-probability -inf: their product counts as 0.
            let finite = log_softmax_cv.clamp_min(-1e4);
            let entropy_c = -(finite.exp() * finite).sum_dim_intlist(-1, false, Kind::Float);
            (entropy_c, log_softmax_cv.argmax(-1, false).eq_tensor(targets_c))
        });
        Self { logprob_c, entropy_c, is_top_c }
    }
}

/// `[c]` log-probabilities of a batch's completion tokens, without gradient.
pub fn token_logprobs(
    network: &Network,
    batch: &PackedBatch,
    allowed_v: &Tensor,
    temperature: f64,
) -> Tensor {
    no_grad(|| {
        let hidden_cd = network.forward(batch).index_select(0, &batch.predictors_c);
        let n = hidden_cd.size()[0];
        let chunks: Vec<Tensor> = chunks(n)
            .map(|range| {
                let (start, len) = (range.start, range.end - range.start);
                let (hidden, targets) =
                    (hidden_cd.narrow(0, start, len), batch.targets_c.narrow(0, start, len));
                TokenStats::new(network, &hidden, &targets, allowed_v, temperature).logprob_c
            })
            .collect();
        Tensor::cat(&chunks, 0)
    })
}

/// Forward and backward of a loss that is a sum over the completion tokens of `batch`.
///
/// `loss` is called once per chunk with the tokens' statistics and their range in `[c]`, and returns the chunk's part of
/// the sum. Gradients accumulate in the parameters; the sum is returned.
pub fn backward_by_token(
    network: &Network,
    batch: &PackedBatch,
    allowed_v: &Tensor,
    temperature: f64,
    mut loss: impl FnMut(&TokenStats, Range<i64>) -> Tensor,
) -> f64 {
    let hidden_cd = network.forward(batch).index_select(0, &batch.predictors_c);
    let leaf_cd = hidden_cd.detach().set_requires_grad(true);
    let mut sum = 0.0;
    for range in chunks(hidden_cd.size()[0]) {
        let (start, len) = (range.start, range.end - range.start);
        let (hidden, targets) = (leaf_cd.narrow(0, start, len), batch.targets_c.narrow(0, start, len));
        let stats = TokenStats::new(network, &hidden, &targets, allowed_v, temperature);
        let part = loss(&stats, range);
        part.backward();
        sum += part.double_value(&[]);
    }
    if hidden_cd.requires_grad() {
        // The gradient of this product with respect to the network is the vector-Jacobian product that is wanted.
        (&hidden_cd * leaf_cd.grad()).sum(Kind::Float).backward();
    }
    sum
}

fn chunks(n: i64) -> impl Iterator<Item = Range<i64>> {
    (0..n).step_by(CHUNK as usize).map(move |start| start..(start + CHUNK).min(n))
}
