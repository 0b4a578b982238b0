//! The decoder's part of `config.json`.

use serde::Deserialize;
use serde_json::Value;

use super::Family;
use crate::model::layers::Activation;

/// Shapes and constants of the decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// Width.
    pub hidden_size: i64,
    /// Width inside the MLP.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Query heads.
    pub num_attention_heads: i64,
    /// Key and value heads; query heads share them in equal groups.
    pub num_key_value_heads: i64,
    /// Width of one head.
    pub head_dim: i64,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMS norm of the decoder.
    pub rms_norm_eps: f64,
    /// Activation of the MLP's gate.
    pub hidden_act: Activation,
    /// Which linear layers of the attention have biases.
    pub attention_bias: AttentionBias,
    /// Whether queries and keys are normed per head.
    pub qk_norm: bool,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many rotary frequencies turn with time, height and width.
    pub mrope_section: [i64; 3],
    /// Whether the sections are dealt out in turn rather than one after another.
    pub mrope_interleaved: bool,
}

/// Which linear layers of an attention have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionBias {
    /// None.
    None,
    /// Query, key and value.
    QueryKeyValue,
    /// Query, key, value and output.
    All,
}

/// The fields as they stand in the file. Defaults are those of `transformers`, which checkpoints may rely on.
#[derive(Deserialize)]
struct Stored {
    vocab_size: i64,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: i64,
    num_attention_heads: i64,
    num_key_value_heads: Option<i64>,
    head_dim: Option<i64>,
    max_position_embeddings: usize,
    rms_norm_eps: Option<f64>,
    #[serde(default = "silu")]
    hidden_act: Activation,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
}

fn silu() -> Activation {
    Activation::Silu
}

impl TextConfig {
    /// Reads the object that holds the decoder's fields.
    pub(super) fn read(json: &Value, family: Family) -> Result<Self, String> {
        let stored = Stored::deserialize(json).map_err(|e| format!("text config: {e}"))?;
        if stored.use_sliding_window {
            return Err("`use_sliding_window` is set; only full attention is supported".into());
        }
        let is_qwen3 = family == Family::Qwen3Vl;
        let rope = Rope::read(json)?;
        let even_head = stored.hidden_size / stored.num_attention_heads.max(1);
        Ok(Self {
            vocab_size: stored.vocab_size,
            hidden_size: stored.hidden_size,
            intermediate_size: stored.intermediate_size,
            num_hidden_layers: stored.num_hidden_layers,
            num_attention_heads: stored.num_attention_heads,
            num_key_value_heads: stored.num_key_value_heads.unwrap_or(stored.num_attention_heads),
            head_dim: if is_qwen3 { stored.head_dim.unwrap_or(128) } else { even_head },
            max_position_embeddings: stored.max_position_embeddings,
            rms_norm_eps: stored.rms_norm_eps.unwrap_or(if is_qwen3 { 1e-6 } else { 1e-5 }),
            hidden_act: stored.hidden_act,
            attention_bias: match (is_qwen3, stored.attention_bias) {
                (false, _) => AttentionBias::QueryKeyValue,
                (true, false) => AttentionBias::None,
                (true, true) => AttentionBias::All,
            },
            qk_norm: is_qwen3,
            rope_theta: rope.theta.unwrap_or(if is_qwen3 { 5e5 } else { 1e6 }),
            mrope_section: rope.section.unwrap_or(if is_qwen3 { [24, 20, 20] } else { [16, 24, 24] }),
            mrope_interleaved: is_qwen3,
        })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        let mut problems = Vec::new();
        let mut check = |ok: bool, message: String| {
            if !ok {
                problems.push(message);
            }
        };
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
        ] {
            check(value > 0, format!("{name} {value} is not positive"));
        }
        let divides = self.qk_norm || (heads > 0 && self.hidden_size % heads == 0);
        check(divides, {
            format!("hidden_size {} is not a multiple of num_attention_heads {heads}", self.hidden_size)
        });
        check(kv_heads > 0 && heads > 0 && heads % kv_heads == 0, {
            format!("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
        });
        check(
            self.mrope_section.iter().all(|&n| n >= 0)
                && self.mrope_section.iter().sum::<i64>() * 2 == self.head_dim,
            format!(
                "mrope_section {:?} does not add up to half a head of {}",
                self.mrope_section, self.head_dim
            ),
        );
        problems
    }
}

/// The rotary settings: in `rope_parameters`, in `rope_scaling`, or beside them.
struct Rope {
    theta: Option<f64>,
    section: Option<[i64; 3]>,
}

impl Rope {
    fn read(json: &Value) -> Result<Self, String> {
        let objects = ["rope_parameters", "rope_scaling"].map(|key| &json[key]);
        let find = |key: &str| objects.iter().map(|object| &object[key]).find(|value| !value.is_null());
        if let Some(kind) = find("rope_type").or_else(|| find("type"))
            && !["default", "mrope"].contains(&kind.as_str().unwrap_or_default())
        {
            return Err(format!(
                "rotary positions of type {kind} are not supported (only `default` and `mrope`)"
            ));
        }
        let section = find("mrope_section")
            .map(|section| <[i64; 3]>::deserialize(section).map_err(|e| format!("`mrope_section`: {e}")))
            .transpose()?;
        Ok(Self { theta: find("rope_theta").unwrap_or(&json["rope_theta"]).as_f64(), section })
    }
}
