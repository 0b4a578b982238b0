//! A demonstration as the model reads it.

use reft_core::{Demonstration, StageError};
use reft_vlm::{Vlm, processor::EncodedPrompt};

/// Prompt and completion of a demonstration; an error when the context does not hold them.
pub(crate) fn encode(
    policy: &Vlm,
    demonstration: &Demonstration,
) -> Result<(EncodedPrompt, Vec<i64>), StageError> {
    let id = &demonstration.sample.id;
    let prompt = policy.encode(&demonstration.sample.messages).map_err(|e| StageError::sample(id, e))?;
    let completion = policy
        .processor()
        .encode_completion(&demonstration.completion, true)
        .map_err(|e| StageError::sample(id, e))?;
    let (length, limit) =
        (prompt.token_ids.len() + completion.len(), policy.config().text.max_position_embeddings);
    if length > limit {
        return Err(StageError::sample(
            id,
            format!("{length} tokens with its answer, the context holds {limit}"),
        ));
    }
    Ok((prompt, completion))
}
