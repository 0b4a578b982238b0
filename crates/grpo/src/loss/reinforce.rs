//! REINFORCE: the log-prob, without a ratio.

use super::{PolicyLoss, TokenLoss, Tokens};

/// `-A log p` (Williams 1992).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reinforce;

impl PolicyLoss for Reinforce {
    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        TokenLoss::unbounded(-(&tokens.logprob_c * &tokens.advantage_c), &tokens.ratio())
    }
}
