//! Answers from OpenAI-compatible servers (vLLM, SGLang, `reft serve`, a provider) where a model of this process could answer.
//!
//! [`ServerEngine`] is a [`RolloutEngine`](reft_core::RolloutEngine) for every policy, which it does not look at: evaluation,
//! benchmarks and rejection sampling work with it as they do with ours.

mod answer;
mod engine;
mod pool;
mod question;

pub use engine::{FleetError, ServerEngine};
