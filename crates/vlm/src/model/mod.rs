//! The network: vision tower, merger and decoder, built from a config by checkpoint names.

mod config;
mod decoder;
mod delta_net;
mod delta_rule;
mod distribution;
mod features;
mod finite;
pub mod inference;
mod layers;
mod low_rank;
mod packed;
mod packed_attention;
mod packed_memory;
mod padded;
mod params;
mod pass;
mod positions;
mod random;
mod vision;

use tch::Tensor;

pub use config::{
    AttentionBias, ConfigError, Family, InternVitConfig, LinearAttention, TextConfig, TowerConfig,
    VisionConfig, VlmConfig, canonical_name,
};
pub use decoder::{Decoder, DecoderInput, TokenPlan};
pub use delta_net::{DeltaInputs, DeltaMemory, DeltaState};
pub use distribution::Distribution;
pub use features::KeptFeatures;
pub use layers::Activation;
pub use low_rank::LowRank;
pub use packed::{PackedBatch, PackedImages};
pub use params::{
    BufferKey, Declared, Leaves, LinearSpec, Linears, Param, ParamSource, ParamSpec, ParamStore, PartOfModel,
    VisionMemory,
};
pub use pass::{ForwardPass, Keep};
pub use positions::{ImagePositions, PromptPositions, prompt_positions};
pub use random::random_bits;
pub use vision::{VisionFeatures, VisionTower};

/// Tower and decoder over one set of parameters. Knows no tokenizer and keeps no cache, so training, reference and
/// rollout share it.
pub struct Network {
    /// Pixels to decoder tokens.
    pub vision: VisionTower,
    /// Tokens to hidden states to logits.
    pub decoder: Decoder,
}

impl Network {
    /// Builds the modules from a source of parameters.
    pub fn new(source: &mut dyn ParamSource, config: &VlmConfig) -> Self {
        Self {
            vision: VisionTower::new(source, &config.vision),
            decoder: Decoder::new(source, &config.text, config.tie_word_embeddings),
        }
    }

    /// The parameters that a config asks for.
    pub fn declare(config: &VlmConfig) -> Vec<ParamSpec> {
        let mut declared = Declared::default();
        let _ = Self::new(&mut declared, config);
        declared.0
    }

    /// The linear layers that can have a low-rank update, in the order in which they ask for it.
    pub(crate) fn linears(config: &VlmConfig) -> Vec<LinearSpec> {
        let mut linears = Linears::default();
        let _ = Self::new(&mut linears, config);
        linears.0
    }

    /// What the decoder reads of a packed batch: embeddings, image features in place.
    pub fn embed(&self, batch: &PackedBatch) -> DecoderInput {
        self.embed_with(batch, PackedImages::features)
    }

    /// [`Self::embed`] with each image encoded by itself also where the tower learns: its features are then equal to the last
    /// bit to those of a pass that records no gradient.
    pub fn embed_one_by_one(&self, batch: &PackedBatch) -> DecoderInput {
        self.embed_with(batch, PackedImages::features_one_by_one)
    }

    fn embed_with(
        &self,
        batch: &PackedBatch,
        features: impl Fn(&PackedImages, &VisionTower) -> VisionFeatures,
    ) -> DecoderInput {
        let text = self.decoder.embed(&batch.tokens_t);
        match &batch.images {
            None => text,
            Some(images) => images.put(&text, features(images, &self.vision)),
        }
    }

    /// Hidden states `[t, width]` of a packed batch: what training and the KL reference run.
    pub fn forward(&self, batch: &PackedBatch) -> Tensor {
        let mut plan = batch;
        self.decoder.forward(&self.embed(batch), &batch.positions_3t, &mut plan)
    }
}
