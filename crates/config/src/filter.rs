//! Which groups are trained on, and how a step makes up for those that are not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which groups are trained on. The first filter that rejects a group gives the reason, in the order of these keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterConfig {
    /// Leave out groups whose rewards are all equal: their advantages are 0 (only the KL term would act).
    pub zero_variance: bool,
    /// Leave out groups in which more than this share of the answers was cut by `max_new_tokens`, 0 to 1; 1 keeps all.
    pub max_truncated: f64,
    /// Leave out groups whose mean accuracy lies outside of a band (online difficulty filtering, arXiv 2504.03380).
    pub success_band: Option<BandConfig>,
    /// Leave out groups whose largest and smallest advantage differ by less than this; 0 keeps all. Says more than
    /// `zero_variance` where rewards are graded and advantages are not divided by their deviation.
    pub advantage_range: f64,
    /// How a step makes up for groups that were left out.
    pub refill: RefillConfig,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self {
            zero_variance: false,
            max_truncated: 1.0,
            success_band: None,
            advantage_range: 0.0,
            refill: RefillConfig::Off,
        }
    }
}

/// Both ends belong to the band.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandConfig {
    /// Smallest mean accuracy, 0 to 1; 0.25 and 0.75 are balanced around one half.
    pub low: f64,
    /// Largest mean accuracy, 0 to 1.
    pub high: f64,
}

/// How a step makes up for groups that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RefillConfig {
    /// It does not: a step asks `prompts_per_step` questions and trains on the groups that pass.
    #[default]
    Off,
    /// Asks again until `prompts_per_step` groups pass (dynamic sampling of DAPO, arXiv 2503.14476).
    Dynamic(DynamicConfig),
    /// Asks more questions from the start, as many as the share of useless groups calls for (RLCS, arXiv 2507.01006).
    Expansion(ExpansionConfig),
}

/// Dynamic sampling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicConfig {
    /// Rollout calls of a step at most, the first one included; then it trains on what there is.
    pub max_rounds: u64,
}

impl Default for DynamicConfig {
    fn default() -> Self {
        Self { max_rounds: 10 }
    }
}

/// Expansion of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpansionConfig {
    /// Weight of the past in the moving average of the share of groups left out, at least 0 and below 1.
    pub decay: f64,
    /// Largest expansion of a step, at least 1.
    pub max_ratio: f64,
}

impl Default for ExpansionConfig {
    fn default() -> Self {
        Self { decay: 0.9, max_ratio: 4.0 }
    }
}
