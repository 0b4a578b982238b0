//! Soft overlong punishment (DAPO, Yu et al. 2025, arXiv 2503.14476, equation 13).

use reft_core::{Completion, Reward, Sample, StageError};

/// With L tokens: 0 up to `max_tokens - buffer_tokens`, then falling linearly, -1 from `max_tokens` on.
///
/// Stored completions without token ids count as 0 tokens.
#[derive(Clone, Copy, Debug)]
pub struct Overlong {
    /// Tokens at which the punishment is full.
    pub max_tokens: usize,
    /// Tokens before that over which it grows; at least 1.
    pub buffer_tokens: usize,
}

impl Reward for Overlong {
    fn name(&self) -> &'static str {
        "overlong"
    }

    fn score(&self, _sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let free = self.max_tokens as f32 - self.buffer_tokens as f32;
        let over = completion.token_ids.len() as f32 - free;
        Ok(-(over / self.buffer_tokens.max(1) as f32).clamp(0.0, 1.0))
    }
}
