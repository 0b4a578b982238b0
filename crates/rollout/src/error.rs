//! What can be wrong with a request.

/// A request that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Nothing to generate.
    #[error("group_size is {group_size} and max_new_tokens is {max_new_tokens}; both must be positive")]
    Empty {
        /// Completions per prompt.
        group_size: usize,
        /// Tokens per completion.
        max_new_tokens: usize,
    },
    /// The prompt fills the context to the last token.
    #[error("its prompt of {prompt_tokens} tokens leaves no room in a context of {limit}")]
    NoRoom {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// More than a running engine has room for.
    #[error("{asked} {what} are more than the {most} that there is room for")]
    Beyond {
        /// Of what.
        what: &'static str,
        /// How many are asked for.
        asked: usize,
        /// How many fit.
        most: usize,
    },
    /// What was to answer is not there any more.
    #[error("{what} answers no more")]
    Gone {
        /// What.
        what: String,
    },
    /// A text that is to be banned but is not one token.
    #[error("`sampling.banned`: `{text}` {message}")]
    Banned {
        /// The text.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// A token that is to be banned but does not exist.
    #[error("`sampling.banned_ids`: there is no token {id}, the vocabulary has {size}")]
    NoToken {
        /// Its id.
        id: i64,
        /// Tokens that there are.
        size: usize,
    },
    /// Nothing is left to write.
    #[error("`sampling.banned_ids` and `sampling.banned` ban every token")]
    AllBanned,
    /// The model's output is not a number.
    #[error(
        "the model's logits are not numbers at completion token {token}: its weights have diverged, or its number type is \
         too small for them; in training lower `lr` or `optimizer.max_grad_norm` and go back to an earlier checkpoint, with \
         `model.dtype = \"fp16\"` try `bf16`"
    )]
    NonFinite {
        /// Which token.
        token: usize,
    },
}
