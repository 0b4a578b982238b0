//! Answers from OpenAI-compatible servers (vLLM, SGLang, `reft serve`, a provider) where a model of this process could answer.
//!
//! [`ServerEngine`] is a [`RolloutEngine`](reft_core::RolloutEngine) for every policy, which it does not look at: evaluation,
//! benchmarks and rejection sampling work with it as they do with ours. [`PolicyEngine`] answers for a policy that learns:
//! before each step it puts the newest weights where the servers see them, and has them loaded; where weights may be an update
//! behind, servers answer while the policy learns.

mod answer;
mod begun;
mod check;
mod endpoint;
mod engine;
mod policy;
mod pool;
mod probe;
mod question;

pub use engine::{FleetError, ServerEngine};
pub use policy::{PolicyEngine, PolicyEngineConfig};
