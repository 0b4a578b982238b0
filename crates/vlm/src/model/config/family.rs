//! The families of models that load, and the names by which they go.

/// A family of checkpoints: which towers it has and how its tensors are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen2-VL (arXiv 2409.12191).
    Qwen2Vl,
    /// Qwen2.5-VL (arXiv 2502.13923).
    Qwen2_5Vl,
    /// Qwen3-VL, dense (arXiv 2511.21631).
    Qwen3Vl,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Qwen2Vl, Self::Qwen2_5Vl, Self::Qwen3Vl];

    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen2_5Vl => "qwen2_5_vl",
            Self::Qwen3Vl => "qwen3_vl",
        }
    }

    /// The family of a `model_type`.
    pub(crate) fn from_model_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == name)
    }

    /// Name of a parameter in the family's published checkpoints, which `transformers` and vLLM load.
    /// Ours is the older layout, `model.layers...` and `visual...`, for every family.
    pub(crate) fn published_name(self, name: &str) -> String {
        match self {
            Self::Qwen2Vl | Self::Qwen2_5Vl => name.to_owned(),
            Self::Qwen3Vl => match name.strip_prefix("model.") {
                Some(rest) => format!("model.language_model.{rest}"),
                None if name.starts_with("visual.") => format!("model.{name}"),
                None => name.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::canonical_name;

    #[test]
    fn published_names_read_back() {
        let names = ["model.layers.0.mlp.up_proj.weight", "visual.merger.ln_q.weight", "lm_head.weight"];
        for family in Family::ALL {
            for name in names {
                assert_eq!(canonical_name(&family.published_name(name)), name);
            }
            assert_eq!(Family::from_model_type(family.model_type()), Some(family));
        }
        let qwen3 = names.map(|name| Family::Qwen3Vl.published_name(name));
        let expected = [
            "model.language_model.layers.0.mlp.up_proj.weight",
            "model.visual.merger.ln_q.weight",
            "lm_head.weight",
        ];
        assert_eq!(qwen3, expected);
    }
}
