//! What makes up for answers that another engine has drawn.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Importance weights for answers that were not drawn from quite the policy that is trained: by an engine that rounds
/// otherwise, or from weights that are some updates old. With `r = p_trainer / p_rollout` of a token, or the product over
/// its completion, the policy loss of the token is multiplied by a weight made of `r`, which carries no gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectionConfig {
    /// What becomes of `r` outside of its bounds, and of what it is the ratio.
    pub mode: CorrectionMode,
    /// Upper bound of `r` (TIS: 2; IcePop: 5).
    pub clip_max: f64,
    /// Lower bound of `r` (IcePop: 0.5); 0 bounds nothing.
    pub clip_min: f64,
    /// Mean difference of log-probs between trainer and rollout, in nats a token, above which the run stops: one of them
    /// computes another model.
    pub max_mismatch: f64,
}

/// How importance weights are bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    /// Each token's ratio, clipped to the bounds (truncated importance sampling, TIS).
    #[default]
    TokenTruncate,
    /// Each token's ratio, 0 outside of the bounds (IcePop, arXiv 2510.18855).
    TokenMask,
    /// The completion's ratio, clipped to the bounds.
    SequenceTruncate,
    /// The completion's ratio, 0 outside of the bounds.
    SequenceMask,
}

impl CorrectionMode {
    /// Whether a completion has one weight.
    pub fn is_by_sequence(self) -> bool {
        matches!(self, Self::SequenceTruncate | Self::SequenceMask)
    }

    /// Whether what is outside of the bounds counts nothing.
    pub fn masks(self) -> bool {
        matches!(self, Self::TokenMask | Self::SequenceMask)
    }
}

impl Default for CorrectionConfig {
    fn default() -> Self {
        Self { mode: CorrectionMode::default(), clip_max: 2.0, clip_min: 0.0, max_mismatch: 0.05 }
    }
}
