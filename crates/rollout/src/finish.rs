//! When a completion ends.

use reft_core::{FinishReason, SamplingParams};
use reft_vlm::processor::Processor;

/// A character is at most this many tokens, all but the last of which decode to no text of their own.
const BYTES_PER_CHAR: usize = 4;

/// The rules that end completions.
pub(crate) struct Finish<'a> {
    processor: &'a Processor,
    min_new_tokens: usize,
    stop: &'a [String],
    /// Tokens at the end of a completion that may hold a stop string which the last one completes.
    tail: usize,
}

impl<'a> Finish<'a> {
    pub(crate) fn new(processor: &'a Processor, params: &'a SamplingParams) -> Self {
        // A token is at least one byte.
        let longest = params.stop.iter().map(String::len).max().unwrap_or(0);
        Self {
            processor,
            min_new_tokens: params.min_new_tokens,
            stop: &params.stop,
            tail: longest + BYTES_PER_CHAR,
        }
    }

    /// Why a completion of these tokens ends here, when it may have `limit` tokens. Call it for each new token.
    pub(crate) fn of(&self, token_ids: &[i64], limit: usize) -> Option<FinishReason> {
        let ends = token_ids.last().is_some_and(|id| self.processor.end_token_ids().contains(id));
        if ends || (token_ids.len() >= self.min_new_tokens && self.has_stop(token_ids)) {
            return Some(FinishReason::Stop);
        }
        (token_ids.len() >= limit).then_some(FinishReason::Length)
    }

    fn has_stop(&self, token_ids: &[i64]) -> bool {
        if self.stop.is_empty() {
            return false;
        }
        // What was written before the shortest length counts, too, once that is reached.
        let is_first = token_ids.len() == self.min_new_tokens;
        let start = if is_first { 0 } else { token_ids.len().saturating_sub(self.tail) };
        let text = self.processor.decode(&token_ids[start..]);
        self.stop.iter().any(|stop| text.contains(stop.as_str()))
    }
}
