//! What a step's tokens add up to, for the metrics.

use reft_core::Metrics;
use tch::{Kind, Tensor, no_grad};

use crate::{Tokens, correction::Importance, mismatch::Mismatch, objective::Sum};

/// Sums over tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) loss: f64,
    /// Tokens seen, each once an update.
    seen: f64,
    kl: f64,
    ratio: f64,
    clipped: f64,
    entropy: f64,
    /// Tokens of the first update, which trainer and rollout computed from the same weights.
    compared: f64,
    diff: f64,
    max_diff: f64,
    outside: f64,
    /// Of these, tokens whose question shows an image.
    compared_image: f64,
    diff_image: f64,
    /// Tokens with an importance weight.
    corrected: f64,
    importance: f64,
    bounded: f64,
}

/// Sums that are added over ranks.
const ADDED: usize = 14;

impl Sums {
    /// Adds a chunk of tokens.
    pub(crate) fn add(&mut self, sum: &Sum, entropy_c: &Tensor) {
        no_grad(|| {
            self.seen += sum.policy.ratio_c.size()[0] as f64;
            self.ratio += total(&sum.policy.ratio_c);
            self.clipped += total(&sum.policy.bounded_c);
            self.entropy += total(entropy_c);
            self.kl += sum.kl_c.as_ref().map_or(0.0, total);
        });
    }

    /// Compares the trainer's log-probs with those of the rollout.
    pub(crate) fn compare(&mut self, tokens: &Tokens, shows_image_c: &Tensor) {
        no_grad(|| {
            let diff_c = &tokens.logprob_c - &tokens.rollout_c;
            let ratio_c = diff_c.exp();
            let magnitude_c = diff_c.abs();
            self.compared += diff_c.size()[0] as f64;
            self.diff += total(&magnitude_c);
            self.max_diff = self.max_diff.max(magnitude_c.max().double_value(&[]));
            self.outside += total(&ratio_c.lt(0.9).logical_or(&ratio_c.gt(1.1)));
            self.compared_image += total(shows_image_c);
            self.diff_image += total(&(magnitude_c * shows_image_c));
        });
    }

    /// Adds the importance weights of a chunk of tokens.
    pub(crate) fn correct(&mut self, found: &Importance) {
        self.corrected += found.weight_c.size()[0] as f64;
        self.importance += total(&found.weight_c);
        self.bounded += total(&found.bounded_c);
    }

    /// What is added over ranks, and of what the largest counts.
    pub(crate) fn numbers(&self) -> ([f64; ADDED], [f64; 1]) {
        let Self { loss, seen, kl, ratio, clipped, entropy, compared, diff, max_diff, outside, .. } = *self;
        let Self { compared_image, diff_image, corrected, importance, bounded, .. } = *self;
        let own = [loss, seen, kl, ratio, clipped, entropy, compared, diff, outside];
        let added = own.into_iter().chain([compared_image, diff_image, corrected, importance, bounded]);
        let mut numbers = [0.0; ADDED];
        numbers.iter_mut().zip(added).for_each(|(number, added)| *number = added);
        (numbers, [max_diff])
    }

    /// From [`Sums::numbers`].
    pub(crate) fn from_numbers(added: [f64; ADDED], [max_diff]: [f64; 1]) -> Self {
        let [loss, seen, kl, ratio, clipped, entropy, compared, diff, outside, rest @ ..] = added;
        let [compared_image, diff_image, corrected, importance, bounded] = rest;
        Self {
            loss,
            seen,
            kl,
            ratio,
            clipped,
            entropy,
            compared,
            diff,
            max_diff,
            outside,
            compared_image,
            diff_image,
            corrected,
            importance,
            bounded,
        }
    }

    /// Adds the sums of another update.
    pub(crate) fn merge(&mut self, other: &Self) {
        let (mut added, [largest]) = self.numbers();
        let (more, [max_diff]) = other.numbers();
        added.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        *self = Self::from_numbers(added, [largest.max(max_diff)]);
    }

    /// By how much trainer and rollout differ; none where nothing was compared.
    pub(crate) fn mismatch(&self) -> Option<Mismatch> {
        let mean = |sum: f64, tokens: f64| (tokens > 0.0).then(|| sum / tokens);
        Some(Mismatch {
            mean: mean(self.diff, self.compared)?,
            text: mean(self.diff - self.diff_image, self.compared - self.compared_image),
            image: mean(self.diff_image, self.compared_image),
        })
    }

    /// The means, named `grpo/...`.
    pub(crate) fn metrics(&self, updates: usize) -> Metrics {
        let (seen, compared) = (self.seen.max(1.0), self.compared.max(1.0));
        let mut metrics = Metrics::new();
        metrics.set("grpo/loss", self.loss / updates.max(1) as f64);
        metrics.set("grpo/kl", self.kl / seen);
        metrics.set("grpo/ratio_mean", self.ratio / seen);
        metrics.set("grpo/clip_fraction", self.clipped / seen);
        metrics.set("grpo/entropy", self.entropy / seen);
        metrics.set("grpo/logprob_diff_mean", self.diff / compared);
        metrics.set("grpo/logprob_diff_max", self.max_diff);
        metrics.set("grpo/ratio_outside", self.outside / compared);
        if let Some(Mismatch { text: Some(text), image: Some(image), .. }) = self.mismatch() {
            metrics.set("grpo/logprob_diff_text", text);
            metrics.set("grpo/logprob_diff_image", image);
        }
        if self.corrected > 0.0 {
            metrics.set("grpo/importance_mean", self.importance / self.corrected);
            metrics.set("grpo/importance_bounded", self.bounded / self.corrected);
        }
        metrics.set("grpo/tokens", self.compared);
        metrics
    }
}

fn total(x: &Tensor) -> f64 {
    x.sum(Kind::Double).double_value(&[])
}
