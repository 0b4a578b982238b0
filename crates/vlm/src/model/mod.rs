//! The network: vision tower, merger and decoder, built from a config by checkpoint names.

mod config;
mod decoder;
mod layers;
mod packed;
mod params;
mod positions;
mod segments;
mod vision;

use tch::Tensor;

pub use config::{ConfigError, SUPPORTED, TextConfig, VisionConfig, VlmConfig};
pub use decoder::{AttentionPlan, Decoder};
pub use packed::{PackedBatch, PackedImages};
pub use params::{BufferKey, Declared, Param, ParamSource, ParamSpec, ParamStore, PartOfModel};
pub use positions::{PromptPositions, prompt_positions};
pub use segments::{Segments, scaled_dot_product};
pub use vision::VisionTower;

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

    /// Embeddings `[t, width]` of a packed batch, image features in place.
    pub fn embed(&self, batch: &PackedBatch) -> Tensor {
        let x_td = self.decoder.embed(&batch.tokens_t);
        match &batch.images {
            None => x_td,
            Some(images) => {
                let features = self.vision.forward(&images.pixels_pd, &images.grids);
                x_td.index_copy(0, &images.tokens_k, &features)
            }
        }
    }

    /// Hidden states `[t, width]` of a packed batch: what training and the KL reference run.
    pub fn forward(&self, batch: &PackedBatch) -> Tensor {
        let mut plan = batch;
        self.decoder.forward(&self.embed(batch), &batch.positions_3t, &mut plan)
    }
}
