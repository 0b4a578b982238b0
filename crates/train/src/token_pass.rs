//! Losses that are sums over completion tokens, computed in chunks of the vocabulary's rows.
//!
//! Logits of all tokens are never held at once. Per chunk: head, log-softmax, loss, and at once the backward pass down to
//! the hidden states, whose gradient is collected; then one backward pass through the network with that gradient.
//! By the chain rule this is the gradient of the whole sum.
//!
//! Axes in tensor names: c predicted token, t packed token, v vocabulary, d width.

use std::ops::Range;

use reft_vlm::model::{Distribution, ForwardPass, Keep, Network, PackedBatch};
use tch::{Kind, Tensor, no_grad};

/// Rows of logits at a time: 1,024 rows of Qwen's 152 k vocabulary are 0.6 GB in fp32.
const CHUNK: i64 = 1024;

/// Log-probability and entropy of predicted tokens.
pub struct TokenStats {
    /// `[c]` log-probability of the tokens that were chosen.
    pub logprob_c: Tensor,
    /// `[c]` entropy of the distribution; with gradient when [`Entropy::WithGradient`] was asked for.
    pub entropy_c: Tensor,
    /// `[c]` whether the chosen token was the most likely one.
    pub is_top_c: Tensor,
}

impl TokenStats {
    /// From log-probabilities `[c, v]` and the chosen tokens `[c]`.
    pub fn of(log_softmax_cv: &Tensor, targets_c: &Tensor, entropy: Entropy) -> Self {
        let entropy_of = || {
            // Tokens that are not allowed have probability 0 and log-probability -inf: their product counts as 0.
            let finite_cv = log_softmax_cv.clamp_min(-1e4);
            -(finite_cv.exp() * finite_cv).sum_dim_intlist(-1, false, Kind::Float)
        };
        Self {
            logprob_c: chosen(log_softmax_cv, targets_c),
            entropy_c: match entropy {
                Entropy::Value => no_grad(entropy_of),
                Entropy::WithGradient => entropy_of(),
            },
            is_top_c: no_grad(|| log_softmax_cv.argmax(-1, false).eq_tensor(targets_c)),
        }
    }
}

/// Whether a loss goes back through the entropy; if not, its chunks need less memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entropy {
    /// A number.
    Value,
    /// Part of the loss.
    WithGradient,
}

/// The network's head and how it is read.
#[derive(Clone, Copy)]
struct Head<'a> {
    network: &'a Network,
    distribution: Distribution<'a>,
}

impl Head<'_> {
    /// `[c, v]` of the completion tokens `range`.
    fn log_softmax(self, hidden_cd: &Tensor, range: &Range<i64>) -> Tensor {
        self.distribution.log_softmax(&self.network.decoder.logits(&part(hidden_cd, range)), range)
    }

    fn stats(
        self,
        hidden_cd: &Tensor,
        targets_c: &Tensor,
        range: &Range<i64>,
        entropy: Entropy,
    ) -> TokenStats {
        TokenStats::of(&self.log_softmax(hidden_cd, range), &part(targets_c, range), entropy)
    }

    /// `[c]` log-probabilities, without gradient.
    fn logprobs(self, hidden_cd: &Tensor, targets_c: &Tensor) -> Tensor {
        no_grad(|| {
            let chunks: Vec<Tensor> = chunks(hidden_cd.size()[0])
                .map(|range| chosen(&self.log_softmax(hidden_cd, &range), &part(targets_c, &range)))
                .collect();
            Tensor::cat(&chunks, 0)
        })
    }
}

/// `[c]` log-probabilities of a batch's completion tokens, without gradient.
pub fn token_logprobs(network: &Network, batch: &PackedBatch, distribution: Distribution<'_>) -> Tensor {
    let head = Head { network, distribution };
    no_grad(|| head.logprobs(&network.forward(batch).index_select(0, &batch.predictors_c), &batch.targets_c))
}

/// Log-probabilities and entropies of a batch's completion tokens, without gradient.
pub fn token_stats(network: &Network, batch: &PackedBatch, distribution: Distribution<'_>) -> TokenStats {
    let head = Head { network, distribution };
    no_grad(|| {
        let hidden_cd = network.forward(batch).index_select(0, &batch.predictors_c);
        let parts: Vec<TokenStats> = chunks(hidden_cd.size()[0])
            .map(|range| head.stats(&hidden_cd, &batch.targets_c, &range, Entropy::Value))
            .collect();
        let cat = |of: fn(&TokenStats) -> &Tensor| Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0);
        TokenStats {
            logprob_c: cat(|part| &part.logprob_c),
            entropy_c: cat(|part| &part.entropy_c),
            is_top_c: cat(|part| &part.is_top_c),
        }
    })
}

/// A forward pass whose completion tokens are then looked at in chunks.
pub struct TokenPass<'a> {
    head: Head<'a>,
    batch: &'a PackedBatch,
    pass: ForwardPass<'a>,
    /// `[c, width]` hidden states that predict the tokens; a leaf in which their gradient is collected.
    hidden_cd: Tensor,
}

impl<'a> TokenPass<'a> {
    /// Runs the network.
    pub fn new(
        network: &'a Network,
        batch: &'a PackedBatch,
        distribution: Distribution<'a>,
        keep: Keep,
    ) -> Self {
        let pass = network.pass(batch, keep);
        let hidden_cd = pass.hidden().index_select(0, &batch.predictors_c).set_requires_grad(true);
        Self { head: Head { network, distribution }, batch, pass, hidden_cd }
    }

    /// `[c]` log-probabilities, without gradient: for losses that need those of a whole completion before any token's
    /// loss. Runs the head alone.
    pub fn logprobs(&self) -> Tensor {
        self.head.logprobs(&self.hidden_cd, &self.batch.targets_c)
    }

    /// Backward of a loss that is a sum over the completion tokens.
    ///
    /// `loss` is called once per chunk with the tokens' statistics and their range in `[c]`, and returns the chunk's
    /// part of the sum. Gradients accumulate in the parameters; the sum is returned. Where it is not finite, nothing
    /// has been added to the network's gradients but the head's.
    pub fn backward(self, entropy: Entropy, mut loss: impl FnMut(&TokenStats, &Range<i64>) -> Tensor) -> f64 {
        let mut sum = 0.0;
        for range in chunks(self.hidden_cd.size()[0]) {
            let stats = self.head.stats(&self.hidden_cd, &self.batch.targets_c, &range, entropy);
            let part = loss(&stats, &range);
            part.backward();
            sum += part.double_value(&[]);
        }
        if sum.is_finite() {
            let grad_td = self.pass.hidden().zeros_like();
            self.pass.backward(&grad_td.index_add(0, &self.batch.predictors_c, &self.hidden_cd.grad()));
        }
        sum
    }
}

/// `[c]` of `[c, v]`.
fn chosen(log_softmax_cv: &Tensor, targets_c: &Tensor) -> Tensor {
    log_softmax_cv.gather(1, &targets_c.unsqueeze(1), false).squeeze_dim(1)
}

fn part(x: &Tensor, range: &Range<i64>) -> Tensor {
    x.narrow(0, range.start, range.end - range.start)
}

fn chunks(n: i64) -> impl Iterator<Item = Range<i64>> {
    (0..n).step_by(CHUNK as usize).map(move |start| start..(start + CHUNK).min(n))
}
