//! A completion that is being written.

use reft_core::{Completion, FinishReason, Limit, Support};
use reft_vlm::processor::Processor;

use crate::finish::Finish;

#[derive(Default)]
pub(crate) struct OpenCompletion {
    pub(crate) token_ids: Vec<i64>,
    logprobs: Vec<f32>,
    support: Option<Support>,
    finish: Option<FinishReason>,
}

/// A draw whose log-probability is not a number: which token it would have been.
pub(crate) struct NonFinite {
    pub(crate) token: usize,
}

impl OpenCompletion {
    pub(crate) fn has_ended(&self) -> bool {
        self.finish.is_some()
    }

    /// Why it has ended; none where it has not.
    pub(crate) fn finish(&self) -> Option<FinishReason> {
        self.finish
    }

    /// Appends a token; `max_tokens` of them end it. Returns whether it has ended.
    pub(crate) fn push(
        &mut self,
        token: i64,
        logprob: f32,
        limit: Option<&Limit<Vec<u32>>>,
        finish: &Finish<'_>,
        max_tokens: usize,
    ) -> Result<bool, NonFinite> {
        if !logprob.is_finite() {
            return Err(NonFinite { token: self.token_ids.len() });
        }
        self.token_ids.push(token);
        self.logprobs.push(logprob);
        if let Some(limit) = limit {
            self.support.get_or_insert_default().push(limit.as_slice());
        }
        self.finish = finish.of(&self.token_ids, max_tokens);
        Ok(self.has_ended())
    }

    /// As it is; one that has not ended counts as cut. `think_opened` says whether its prompt ends inside a think block.
    pub(crate) fn close(self, processor: &Processor, think_opened: bool) -> Completion {
        Completion {
            text: processor.decode(&self.token_ids),
            token_ids: self.token_ids,
            logprobs: self.logprobs,
            finish: self.finish.unwrap_or(FinishReason::Length),
            think_opened,
            support: self.support,
        }
    }
}
