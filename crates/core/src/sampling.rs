//! How completions are drawn.

use serde::{Deserialize, Serialize};

use crate::Seed;

/// The distribution to sample from and where its random numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingParams {
    /// Completions per prompt (G).
    pub group_size: usize,
    /// Softmax temperature; 0 takes the most likely token (greedy).
    pub temperature: f32,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Tokens after which a completion is cut.
    pub max_new_tokens: usize,
    /// The place of this call (run seed, phase, step). Sample, completion and token are mixed in by the engine.
    pub seed: Seed,
}

impl SamplingParams {
    /// One greedy completion per prompt, as evaluation uses it.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self { group_size: 1, temperature: 0.0, top_p: 1.0, top_k: 0, max_new_tokens, seed: Seed::new(0) }
    }
}
