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
    /// Numbers of a head that rotary positions turn: all, or the first of them (Qwen3.5).
    pub rotary_dim: i64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many rotary frequencies turn with time, height and width. Plain rotary positions are those of time alone.
    pub mrope_section: [i64; 3],
    /// Whether the sections are dealt out in turn rather than one after another.
    pub mrope_interleaved: bool,
    /// Qwen3.5's decoder: layers without attention among those with it, a gate behind attention, norms by `1 + w`.
    pub linear_attention: Option<LinearAttention>,
}

/// Layers that have a gated delta net instead of attention (Qwen3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearAttention {
    /// Tokens that the convolution sees.
    pub conv_kernel: i64,
    /// Heads of queries and keys; each serves consecutive heads of values.
    pub key_heads: i64,
    /// Width of a head of queries and keys.
    pub key_head_dim: i64,
    /// Heads of values.
    pub value_heads: i64,
    /// Width of a head of values.
    pub value_head_dim: i64,
    /// For each layer, whether it has one.
    pub layers: Vec<bool>,
}

impl LinearAttention {
    /// Channels of the convolution: queries, keys and values.
    pub(crate) fn channels(&self) -> i64 {
        2 * self.key_heads * self.key_head_dim + self.value_heads * self.value_head_dim
    }

    /// Numbers that a layer remembers of a sequence, fp32 ones and others.
    pub(crate) fn state_numbers(&self) -> [i64; 2] {
        [self.value_heads * self.key_head_dim * self.value_head_dim, (self.conv_kernel - 1) * self.channels()]
    }
}

/// As it stands in `text_config`. Defaults are those of `Qwen3_5TextConfig`.
#[derive(Deserialize)]
#[serde(default)]
struct StoredLinear {
    linear_conv_kernel_dim: i64,
    linear_key_head_dim: i64,
    linear_value_head_dim: i64,
    linear_num_key_heads: i64,
    linear_num_value_heads: i64,
    layer_types: Option<Vec<LayerType>>,
    full_attention_interval: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LayerType {
    LinearAttention,
    FullAttention,
}

impl Default for StoredLinear {
    fn default() -> Self {
        Self {
            linear_conv_kernel_dim: 4,
            linear_key_head_dim: 128,
            linear_value_head_dim: 128,
            linear_num_key_heads: 16,
            linear_num_value_heads: 32,
            layer_types: None,
            full_attention_interval: 4,
        }
    }
}

impl StoredLinear {
    fn read(json: &Value, n_layers: i64) -> Result<LinearAttention, String> {
        let stored = Self::deserialize(json).map_err(|e| format!("text config: {e}"))?;
        let interval = stored.full_attention_interval.max(1);
        let layers = match stored.layer_types {
            Some(types) => types.iter().map(|&layer| layer == LayerType::LinearAttention).collect(),
            None => (0..n_layers).map(|i| (i + 1) % interval != 0).collect(),
        };
        Ok(LinearAttention {
            conv_kernel: stored.linear_conv_kernel_dim,
            key_heads: stored.linear_num_key_heads,
            key_head_dim: stored.linear_key_head_dim,
            value_heads: stored.linear_num_value_heads,
            value_head_dim: stored.linear_value_head_dim,
            layers,
        })
    }
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

/// The kinds of decoder that families have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DecoderKind {
    Llama,
    Qwen2,
    Qwen3,
    Qwen3_5,
}

impl DecoderKind {
    /// A family's own, or what `model_type` of its `text_config` says.
    fn of(family: Family, json: &Value) -> Result<Self, String> {
        let default = match family {
            Family::Qwen2Vl | Family::Qwen2_5Vl => return Ok(Self::Qwen2),
            Family::Qwen3Vl => return Ok(Self::Qwen3),
            Family::Qwen3_5 => return Ok(Self::Qwen3_5),
            Family::SmolVlm | Family::Idefics3 => "llama",
            Family::InternVl => "qwen2",
        };
        match json["model_type"].as_str().unwrap_or(default) {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            other => {
                Err(format!("a decoder of type `{other}` is not supported (llama, qwen2 and qwen3 are)"))
            }
        }
    }

    /// Which linear layers of its attention have biases, when the config's `attention_bias` says so or not.
    fn bias(self, attention_bias: bool) -> AttentionBias {
        match (self, attention_bias) {
            (Self::Qwen2, _) => AttentionBias::QueryKeyValue,
            (_, false) => AttentionBias::None,
            (_, true) => AttentionBias::All,
        }
    }
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
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
}

fn silu() -> Activation {
    Activation::Silu
}

impl TextConfig {
    /// Whether a layer attends; else it has a gated delta net.
    pub fn attends(&self, layer: usize) -> bool {
        self.linear_attention
            .as_ref()
            .is_none_or(|linear| !linear.layers.get(layer).copied().unwrap_or(false))
    }

    /// Bytes that keys and values of a token take in all layers, with numbers of `size` bytes.
    pub fn kv_bytes_per_token(&self, size: usize) -> u64 {
        let layers = (0..self.num_hidden_layers as usize).filter(|&layer| self.attends(layer)).count() as u64;
        2 * layers * (self.num_key_value_heads * self.head_dim) as u64 * size as u64
    }

    /// Bytes that layers without attention remember of a sequence, however long.
    pub fn state_bytes_per_sequence(&self, size: usize) -> u64 {
        let Some(linear) = &self.linear_attention else { return 0 };
        let layers = linear.layers.iter().filter(|&&is_linear| is_linear).count() as u64;
        let [recurrent, conv] = linear.state_numbers();
        layers * (4 * recurrent as u64 + size as u64 * conv as u64)
    }

    /// Reads the object that holds the decoder's fields.
    pub(super) fn read(json: &Value, family: Family) -> Result<Self, String> {
        let stored = Stored::deserialize(json).map_err(|e| format!("text config: {e}"))?;
        if stored.use_sliding_window {
            return Err("`use_sliding_window` is set; only full attention is supported".into());
        }
        if stored.mlp_bias {
            return Err("`mlp_bias` is set; only MLPs without biases are supported".into());
        }
        let kind = DecoderKind::of(family, json)?;
        let linear_attention = match kind {
            DecoderKind::Qwen3_5 => Some(StoredLinear::read(json, stored.num_hidden_layers)?),
            _ => None,
        };
        let rope = Rope::read(json)?;
        let even_head = stored.hidden_size / stored.num_attention_heads.max(1);
        let head_dim = match (family, kind) {
            // Their head width is no field of the config.
            (Family::Qwen2Vl | Family::Qwen2_5Vl, _) => even_head,
            (_, DecoderKind::Qwen3) => stored.head_dim.unwrap_or(128),
            (_, DecoderKind::Qwen3_5) => stored.head_dim.unwrap_or(256),
            _ => stored.head_dim.unwrap_or(even_head),
        };
        let partial = rope.partial.unwrap_or(if linear_attention.is_some() { 0.25 } else { 1.0 });
        let rotary_dim = (head_dim as f64 * partial) as i64;
        let (default_eps, default_theta, default_section) = match family {
            Family::Qwen2Vl | Family::Qwen2_5Vl => (1e-5, 1e6, [16, 24, 24]),
            Family::Qwen3Vl => (1e-6, 5e5, [24, 20, 20]),
            Family::Qwen3_5 => (1e-6, 1e4, [11, 11, 10]),
            Family::SmolVlm | Family::Idefics3 | Family::InternVl => (1e-6, 1e4, [rotary_dim / 2, 0, 0]),
        };
        Ok(Self {
            vocab_size: stored.vocab_size,
            hidden_size: stored.hidden_size,
            intermediate_size: stored.intermediate_size,
            num_hidden_layers: stored.num_hidden_layers,
            num_attention_heads: stored.num_attention_heads,
            num_key_value_heads: stored.num_key_value_heads.unwrap_or(stored.num_attention_heads),
            head_dim,
            max_position_embeddings: stored.max_position_embeddings,
            rms_norm_eps: stored.rms_norm_eps.unwrap_or(default_eps),
            hidden_act: stored.hidden_act,
            attention_bias: kind.bias(stored.attention_bias),
            qk_norm: matches!(kind, DecoderKind::Qwen3 | DecoderKind::Qwen3_5),
            rotary_dim,
            rope_theta: rope.theta.unwrap_or(default_theta),
            mrope_section: rope.section.unwrap_or(default_section),
            mrope_interleaved: matches!(family, Family::Qwen3Vl | Family::Qwen3_5),
            linear_attention,
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
                && self.mrope_section.iter().sum::<i64>() * 2 == self.rotary_dim
                && self.rotary_dim <= self.head_dim,
            format!(
                "mrope_section {:?} does not add up to half a head of {}",
                self.mrope_section, self.rotary_dim
            ),
        );
        check(self.linear_attention.is_some() || self.rotary_dim == self.head_dim, {
            format!(
                "{} of {} numbers of a head turn; only Qwen3.5 may have a part",
                self.rotary_dim, self.head_dim
            )
        });
        if let Some(linear) = &self.linear_attention {
            let (keys, values) = (linear.key_heads, linear.value_heads);
            check(keys > 0 && values > 0 && values % keys == 0, {
                format!("linear_num_value_heads {values} is not a multiple of linear_num_key_heads {keys}")
            });
            for (name, value) in [
                ("linear_conv_kernel_dim", linear.conv_kernel),
                ("linear_key_head_dim", linear.key_head_dim),
                ("linear_value_head_dim", linear.value_head_dim),
            ] {
                check(value > 0, format!("{name} {value} is not positive"));
            }
            check(linear.layers.len() as i64 == self.num_hidden_layers, {
                format!(
                    "layer_types are {}, num_hidden_layers {}",
                    linear.layers.len(),
                    self.num_hidden_layers
                )
            });
        }
        problems
    }
}

/// The rotary settings: in `rope_parameters`, in `rope_scaling`, or beside them.
struct Rope {
    theta: Option<f64>,
    /// Share of a head that turns.
    partial: Option<f64>,
    section: Option<[i64; 3]>,
}

impl Rope {
    fn read(json: &Value) -> Result<Self, String> {
        let objects = ["rope_parameters", "rope_scaling"].map(|key| &json[key]);
        let find = |key: &str| objects.iter().map(|object| &object[key]).find(|value| !value.is_null());
        // `dynamic` changes nothing within `max_position_embeddings`, and longer sequences are refused.
        if let Some(kind) = find("rope_type").or_else(|| find("type"))
            && !["default", "mrope", "dynamic"].contains(&kind.as_str().unwrap_or_default())
        {
            return Err(format!(
                "rotary positions of type {kind} are not supported (only `default`, `mrope` and `dynamic`)"
            ));
        }
        let section = find("mrope_section")
            .map(|section| <[i64; 3]>::deserialize(section).map_err(|e| format!("`mrope_section`: {e}")))
            .transpose()?;
        let theta = find("rope_theta").unwrap_or(&json["rope_theta"]);
        if !theta.is_null() && !theta.is_number() {
            return Err(format!("`rope_theta` {theta} is no number"));
        }
        let partial = find("partial_rotary_factor").unwrap_or(&json["partial_rotary_factor"]).as_f64();
        Ok(Self { theta: theta.as_f64(), partial, section })
    }
}
