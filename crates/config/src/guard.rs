//! When a `grpo` phase that learns nothing stops.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a `grpo` phase that learns nothing stops, with a diagnosis. Means are over the last `window` steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Steps to look back on; 0 never stops.
    pub window: u64,
    /// Smallest mean share of groups whose rewards differ, 0 to 1; only those teach.
    pub min_teaching: f64,
    /// Largest mean share of answers that `max_new_tokens` cuts, 0 to 1.
    pub max_truncated: f64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { window: 100, min_teaching: 0.01, max_truncated: 0.99 }
    }
}
