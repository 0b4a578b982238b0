//! How many questions a step asks, so that filters leave enough groups to train on.

mod dynamic;
mod expansion;

use reft_config::RefillConfig;
use reft_core::Refill;

pub use dynamic::Dynamic;
pub use expansion::Expansion;

/// The refill that a recipe asks for; none asks `prompts_per_step` questions and trains on what passes.
pub fn build(config: &RefillConfig) -> Option<Box<dyn Refill>> {
    match *config {
        RefillConfig::Off => None,
        RefillConfig::Dynamic(dynamic) => Some(Box::new(Dynamic::new(dynamic))),
        RefillConfig::Expansion(expansion) => Some(Box::new(Expansion::new(expansion))),
    }
}
