//! AdamW and what surrounds it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// AdamW and what surrounds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; never applied to norms and biases.
    pub weight_decay: f64,
    /// Largest gradient norm; 0 does not clip.
    pub max_grad_norm: f64,
    /// Course of the learning rate after warm-up.
    pub schedule: Schedule,
    /// Share of the phase's steps over which the learning rate rises from 0, 0 to 1.
    pub warmup: f64,
    /// Learning rates of the parts of the model, as multiples of the phase's `lr`.
    pub lr_scale: LrScale,
    /// How weights in bf16 or fp16 keep what an update adds below their last bit. fp32 weights need nothing.
    pub small_weights: SmallWeights,
    /// How the two moments are stored.
    pub moments: MomentsConfig,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            schedule: Schedule::Linear,
            warmup: 0.0,
            lr_scale: LrScale::default(),
            small_weights: SmallWeights::Master,
            moments: MomentsConfig::Fp32,
        }
    }
}

/// Course of the learning rate after warm-up, over the phase's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls in a line to 0.
    #[default]
    Linear,
    /// Falls as half a cosine to 0.
    Cosine,
}

/// Multiples of the learning rate by part of the model; LoRA adapters count as the part that they adapt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LrScale {
    /// Vision tower without its merger; a tenth is common.
    pub vision_tower: f64,
    /// The merger between tower and decoder.
    pub merger: f64,
    /// Decoder, embeddings and head.
    pub decoder: f64,
}

impl Default for LrScale {
    fn default() -> Self {
        Self { vision_tower: 1.0, merger: 1.0, decoder: 1.0 }
    }
}

/// How weights of fewer bits than fp32 learn from updates below their last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmallWeights {
    /// An fp32 copy learns and is rounded: 4 bytes per parameter.
    #[default]
    Master,
    /// The rounding error is kept in the weights' own type and added to the next update (Kahan 1965): 2 bytes.
    Kahan,
    /// The sum is rounded up or down with the probability that keeps its mean (Gupta et al. 2015, arXiv 1502.02551), by
    /// numbers of the run's seed: no bytes. Only for bf16.
    Stochastic,
}

/// How AdamW's moments are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MomentsConfig {
    /// 4 bytes each.
    #[default]
    Fp32,
    /// 1 byte each and one scale per 256 values: blockwise dynamic quantisation (Dettmers et al. 2022, arXiv 2110.02861).
    Int8,
}
