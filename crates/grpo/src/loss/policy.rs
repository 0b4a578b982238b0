//! The policy loss: a stage that others can implement (`docs/LOSSES.md` shows how).
//!
//! A loss works on tokens, so that logits of a few rows are enough to take a gradient. What depends on a whole completion
//! (the ratio of GSPO) or on the whole batch (which tokens have the highest entropy) is prepared before, as numbers
//! without gradient, and the chain rule does the rest.

use std::ops::Range;

use reft_core::Seed;
use tch::{Kind, Tensor};

use super::bounded_exp;

/// The policy loss of tokens, without KL penalty and entropy bonus.
pub trait PolicyLoss: Send + Sync {
    /// What [`PolicyLoss::prepare`] sees at once. It costs a second pass of the head for [`Scope::Completion`] from the
    /// second update of a batch on, and a forward pass of all micro-batches for [`Scope::Batch`].
    fn scope(&self) -> Scope {
        Scope::Token
    }

    /// Numbers for every token, `[c]` or `[c, k]`, from all tokens of the scope, before the gradient of any: they come back
    /// as [`Tokens::prepared_c`]. Called without gradients, once a micro-batch or batch and update; with [`Scope::Batch`] it
    /// sees the tokens that have a weight in the loss, and where others come to [`PolicyLoss::loss`] they get 0.
    fn prepare(&self, _all: &Tokens) -> Option<Tensor> {
        None
    }

    /// The loss of some tokens. Which tokens come together is arbitrary and must not matter.
    fn loss(&self, tokens: &Tokens) -> TokenLoss;
}

/// What a loss sees at once before it is asked for that of any token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Nothing.
    Token,
    /// All tokens of some completions. At the first update of a batch their log-probs are those of the rollout, which are
    /// the policy's but for rounding; entropies are not known.
    Completion,
    /// All tokens of the batch, with their entropies.
    Batch,
}

/// What a loss may know of tokens, `[c]` each, completions one after another.
#[derive(Debug)]
pub struct Tokens {
    /// Log-probs: with gradient in [`PolicyLoss::loss`], without in [`PolicyLoss::prepare`].
    pub logprob_c: Tensor,
    /// Log-probs at the first update of the batch.
    pub old_c: Tensor,
    /// Log-probs as the rollout had them.
    pub rollout_c: Tensor,
    /// Entropies of the distributions; with gradient only where an entropy bonus is asked for, none in
    /// [`PolicyLoss::prepare`] of [`Scope::Completion`].
    pub entropy_c: Option<Tensor>,
    /// Advantages.
    pub advantage_c: Tensor,
    /// Tokens of the token's completion.
    pub length_c: Tensor,
    /// Number of the token's completion in the batch, int64.
    pub completion_c: Tensor,
    /// Number of the token's group in the batch, int64.
    pub group_c: Tensor,
    /// What [`PolicyLoss::prepare`] returned for these tokens.
    pub prepared_c: Option<Tensor>,
    /// Of the phase, step and update, for losses that draw.
    pub seed: Seed,
}

/// The loss of some tokens, `[c]` each.
pub struct TokenLoss {
    /// To be minimised, with gradient.
    pub loss_c: Tensor,
    /// The ratio that the loss bounds, of the token or of its completion, without gradient.
    pub ratio_c: Tensor,
    /// Whether the bound acts on the token: its gradient is stopped, or its weight cut.
    pub bounded_c: Tensor,
}

impl TokenLoss {
    /// Of a loss that bounds nothing.
    pub fn unbounded(loss_c: Tensor, ratio_c: &Tensor) -> Self {
        Self { loss_c, ratio_c: ratio_c.detach(), bounded_c: ratio_c.zeros_like().to_kind(Kind::Bool) }
    }
}

impl Tokens {
    /// `[c]` `log p - log p_old`.
    pub fn log_ratio(&self) -> Tensor {
        &self.logprob_c - &self.old_c
    }

    /// `[c]` `p / p_old`.
    pub fn ratio(&self) -> Tensor {
        bounded_exp(&self.log_ratio())
    }

    /// `[c]` sums over completions, at each of their tokens. Sees all of a completion in [`PolicyLoss::prepare`] alone.
    pub fn sum_by_completion(&self, values_c: &Tensor) -> Tensor {
        if values_c.size()[0] == 0 {
            return values_c.shallow_clone();
        }
        let n = self.completion_c.max().int64_value(&[]) + 1;
        let sums_m = Tensor::zeros([n], (Kind::Double, values_c.device()));
        let sums_m = sums_m.index_add(0, &self.completion_c, &values_c.to_kind(Kind::Double));
        sums_m.index_select(0, &self.completion_c).to_kind(values_c.kind())
    }

    /// What [`PolicyLoss::prepare`] returned for these tokens. A loss that asks for it in [`PolicyLoss::loss`] must have
    /// returned it.
    pub fn prepared(&self) -> Tensor {
        let prepared_c = self.prepared_c.as_ref();
        #[expect(
            clippy::expect_used,
            reason = "what `prepare` returned always comes back, so only a loss that returned nothing fails"
        )]
        prepared_c
            .expect("a loss that asks for `Tokens::prepared` returns it from `PolicyLoss::prepare`")
            .shallow_clone()
    }

    /// All tokens of several parts, one after another.
    pub(crate) fn concat(parts: &[Self], seed: Seed) -> Self {
        let cat = |of: fn(&Self) -> &Tensor| Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0);
        let entropies: Option<Vec<&Tensor>> = parts.iter().map(|part| part.entropy_c.as_ref()).collect();
        Self {
            logprob_c: cat(|part| &part.logprob_c),
            old_c: cat(|part| &part.old_c),
            rollout_c: cat(|part| &part.rollout_c),
            entropy_c: entropies.map(|entropies| Tensor::cat(&entropies, 0)),
            advantage_c: cat(|part| &part.advantage_c),
            length_c: cat(|part| &part.length_c),
            completion_c: cat(|part| &part.completion_c),
            group_c: cat(|part| &part.group_c),
            prepared_c: None,
            seed,
        }
    }

    /// Every tensor changed alike: `Tensor::shallow_clone` gives the same under another set of handles.
    pub(crate) fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            logprob_c: change(&self.logprob_c),
            old_c: change(&self.old_c),
            rollout_c: change(&self.rollout_c),
            entropy_c: self.entropy_c.as_ref().map(&change),
            advantage_c: change(&self.advantage_c),
            length_c: change(&self.length_c),
            completion_c: change(&self.completion_c),
            group_c: change(&self.group_c),
            prepared_c: self.prepared_c.as_ref().map(&change),
            seed: self.seed,
        }
    }

    /// Some of them, whose log-probs and entropies are known with gradient by now.
    pub(crate) fn part(&self, range: &Range<i64>, logprob_c: &Tensor, entropy_c: &Tensor) -> Self {
        let part = |x: &Tensor| x.narrow(0, range.start, range.end - range.start);
        Self {
            logprob_c: logprob_c.shallow_clone(),
            old_c: part(&self.old_c),
            rollout_c: part(&self.rollout_c),
            entropy_c: Some(entropy_c.shallow_clone()),
            advantage_c: part(&self.advantage_c),
            length_c: part(&self.length_c),
            completion_c: part(&self.completion_c),
            group_c: part(&self.group_c),
            prepared_c: self.prepared_c.as_ref().map(part),
            seed: self.seed,
        }
    }
}
