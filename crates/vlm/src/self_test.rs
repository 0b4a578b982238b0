//! A forward pass that every sound installation computes alike: a tiny network with seeded weights, one image, one
//! completion. It exercises windows, full attention, merger, M-RoPE, shared heads and the head.

use std::sync::Arc;

use reft_core::{ImageGrid, ImageSize, Seed};
use tch::{Device, Kind, Tensor};

use crate::{
    init::randomize,
    model::{
        Activation, AttentionBias, Family, KeptFeatures, Network, PackedBatch, ParamStore, TextConfig,
        TowerConfig, VisionConfig, VlmConfig,
    },
    processor::{EncodedPrompt, ImageKey, ImageSpan},
};

/// Log-probabilities of the completion, recorded from the build that passes the golden tests against `transformers`.
const EXPECTED: [f64; 4] = [-4.702_981, -4.488_019_5, -5.230_710_5, -2.059_868_6];

/// Largest difference of the forward pass on the CPU from its recorded log-probabilities.
pub fn self_test() -> f64 {
    let got = tch::no_grad(logprobs);
    got.iter().zip(EXPECTED).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max)
}

fn logprobs() -> Vec<f64> {
    let config = config();
    let params = ParamStore::zeros(&Network::declare(&config), Kind::Float, Device::Cpu);
    randomize(&params, Seed::new(2));
    let network = Network::new(&mut params.source(), &config);

    // Two by three merged patches in windows of two by two.
    let grid = ImageGrid { resized: ImageSize { width: 24, height: 16 }, rows: 4, columns: 6, tokens: 6 };
    let n = 24 * config.vision.patch_dim();
    let pixels = Tensor::arange(n, (Kind::Float, Device::Cpu)).g_mul_scalar(0.37).sin().view([24, -1]);
    let prompt = EncodedPrompt {
        token_ids: vec![1, 2, 0, 0, 0, 0, 0, 0, 3],
        images: vec![ImageSpan { key: ImageKey::of(&[], "self-test"), start: 2, grid, pixels }],
        think_opened: false,
    };
    let completion = [4, 5, 6, 7];
    let kept = Arc::new(KeptFeatures::within(0));
    let batch = PackedBatch::new(
        &[(&prompt, vec![&completion])],
        config.image_positions(),
        Kind::Float,
        Device::Cpu,
        &kept,
    );
    let hidden = network.forward(&batch).index_select(0, &batch.predictors_c);
    let all = network.decoder.logits(&hidden).log_softmax(-1, Kind::Float);
    let chosen = all.gather(1, &batch.targets_c.unsqueeze(1), false);
    (0..completion.len() as i64).map(|c| chosen.double_value(&[c, 0])).collect()
}

fn config() -> VlmConfig {
    VlmConfig {
        family: Family::Qwen2_5Vl,
        text: TextConfig {
            vocab_size: 16,
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
            max_position_embeddings: 64,
            rms_norm_eps: 1e-6,
            hidden_act: Activation::Silu,
            attention_bias: AttentionBias::QueryKeyValue,
            qk_norm: false,
            rotary_dim: 4,
            rope_theta: 1e6,
            mrope_section: [1, 1, 0],
            mrope_interleaved: false,
            linear_attention: None,
        },
        vision: VisionConfig {
            depth: 2,
            hidden_size: 16,
            intermediate_size: 24,
            hidden_act: Activation::Silu,
            num_heads: 2,
            in_channels: 3,
            patch_size: 4,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            out_hidden_size: 16,
            rope_theta: 10_000.0,
            tower: TowerConfig::Qwen2_5 { window_size: 16, fullatt_block_indexes: vec![1] },
        },
        image_token_id: 0,
        tie_word_embeddings: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_values_are_met() {
        let got = tch::no_grad(logprobs);
        assert!(self_test() < 1e-4, "{got:?}");
    }
}
