//! The families of models that load, and the names by which their tensors go.
//!
//! Modules ask for their parameters by one set of names, whatever the family: `model.` for the decoder, `visual.merger.`
//! for what lies between tower and decoder, `visual.` for the tower, `lm_head.` for the head. What stands behind these
//! prefixes is the family's own.

/// A family of checkpoints: which towers it has and how its tensors are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen2-VL (arXiv 2409.12191).
    Qwen2Vl,
    /// Qwen2.5-VL (arXiv 2502.13923).
    Qwen2_5Vl,
    /// Qwen3-VL, dense (arXiv 2511.21631).
    Qwen3Vl,
    /// Qwen3.5, dense.
    Qwen3_5,
    /// SmolVLM2 (arXiv 2504.05299).
    SmolVlm,
    /// Idefics3 and the first SmolVLM (arXiv 2408.12637): the same network under another name.
    Idefics3,
    /// InternVL3 and InternVL3.5 (arXiv 2504.10479, 2508.18265), in the layout of `transformers`.
    InternVl,
}

/// A prefix of names.
struct Prefix {
    /// Ours.
    ours: &'static str,
    /// That of the modules of `transformers`, which PEFT's names are made of.
    module: &'static str,
    /// That in published files.
    published: &'static str,
}

const fn prefix(ours: &'static str, module: &'static str, published: &'static str) -> Prefix {
    Prefix { ours, module, published }
}

const OLDER_QWEN: &[Prefix] =
    &[prefix("visual.", "model.visual.", "visual."), prefix("model.", "model.language_model.", "model.")];

const QWEN3_VL: &[Prefix] = &[
    prefix("visual.", "model.visual.", "model.visual."),
    prefix("model.", "model.language_model.", "model.language_model."),
];

const SMOL_VLM: &[Prefix] = &[
    prefix("visual.merger.", "model.connector.", "model.connector."),
    prefix("visual.", "model.vision_model.", "model.vision_model."),
    prefix("model.", "model.text_model.", "model.text_model."),
];

const INTERN_VL: &[Prefix] = &[
    prefix("visual.merger.", "model.multi_modal_projector.", "multi_modal_projector."),
    prefix("visual.", "model.vision_tower.", "vision_tower."),
    prefix("model.", "model.language_model.", "language_model.model."),
    prefix("lm_head.", "lm_head.", "language_model.lm_head."),
];

impl Family {
    /// Every family.
    pub const ALL: [Self; 7] = [
        Self::Qwen2Vl,
        Self::Qwen2_5Vl,
        Self::Qwen3Vl,
        Self::Qwen3_5,
        Self::SmolVlm,
        Self::Idefics3,
        Self::InternVl,
    ];

    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen2_5Vl => "qwen2_5_vl",
            Self::Qwen3Vl => "qwen3_vl",
            Self::Qwen3_5 => "qwen3_5",
            Self::SmolVlm => "smolvlm",
            Self::Idefics3 => "idefics3",
            Self::InternVl => "internvl",
        }
    }

    /// The family of a `model_type`.
    pub(crate) fn from_model_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == name)
    }

    /// The template's placeholder of an image, and the token that stands for one feature of it.
    pub(crate) fn image_token(self) -> &'static str {
        match self {
            Self::Qwen2Vl | Self::Qwen2_5Vl | Self::Qwen3Vl | Self::Qwen3_5 => "<|image_pad|>",
            Self::SmolVlm | Self::Idefics3 => "<image>",
            Self::InternVl => "<IMG_CONTEXT>",
        }
    }

    /// Name of a parameter in the family's published checkpoints, which `transformers` and vLLM load.
    pub(crate) fn published_name(self, name: &str) -> String {
        self.renamed(name, |prefix| prefix.published)
    }

    /// Name of a module in `transformers`, which PEFT's patterns are matched with.
    pub(crate) fn module_name(self, name: &str) -> String {
        self.renamed(name, |prefix| prefix.module)
    }

    /// Longer prefixes stand before those that they begin with.
    fn prefixes(self) -> &'static [Prefix] {
        match self {
            Self::Qwen2Vl | Self::Qwen2_5Vl => OLDER_QWEN,
            Self::Qwen3Vl | Self::Qwen3_5 => QWEN3_VL,
            Self::SmolVlm | Self::Idefics3 => SMOL_VLM,
            Self::InternVl => INTERN_VL,
        }
    }

    fn renamed(self, name: &str, to: impl Fn(&Prefix) -> &'static str) -> String {
        let renamed = |prefix: &Prefix| Some(format!("{}{}", to(prefix), name.strip_prefix(prefix.ours)?));
        self.prefixes().iter().find_map(renamed).unwrap_or_else(|| name.to_owned())
    }
}

/// Our name of a tensor that a file holds, in the layout of published checkpoints of any family or of `transformers`'
/// classes.
pub fn canonical_name(name: &str) -> String {
    let known = Family::ALL.into_iter().flat_map(Family::prefixes);
    let stored = known.flat_map(|prefix| [(prefix.module, prefix.ours), (prefix.published, prefix.ours)]);
    let fits = stored.filter(|(stored, _)| name.starts_with(stored));
    match fits.max_by_key(|(stored, _)| stored.len()) {
        Some((stored, ours)) => format!("{ours}{}", &name[stored.len()..]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_layout_read_back() {
        let names = [
            "model.layers.0.mlp.up_proj.weight",
            "model.norm.weight",
            "visual.merger.ln_q.weight",
            "visual.blocks.0.norm1.weight",
            "lm_head.weight",
        ];
        for family in Family::ALL {
            for name in names {
                for stored in [family.published_name(name), family.module_name(name), name.to_owned()] {
                    assert_eq!(canonical_name(&stored), name, "{family:?} {stored}");
                }
            }
            assert_eq!(Family::from_model_type(family.model_type()), Some(family));
        }
        let published = |family: Family| names.map(|name| family.published_name(name));
        assert_eq!(published(Family::Qwen2Vl), names);
        let qwen3 = [
            "model.language_model.layers.0.mlp.up_proj.weight",
            "model.language_model.norm.weight",
            "model.visual.merger.ln_q.weight",
            "model.visual.blocks.0.norm1.weight",
            "lm_head.weight",
        ];
        assert_eq!(published(Family::Qwen3Vl), qwen3);
        let internvl = [
            "language_model.model.layers.0.mlp.up_proj.weight",
            "language_model.model.norm.weight",
            "multi_modal_projector.ln_q.weight",
            "vision_tower.blocks.0.norm1.weight",
            "language_model.lm_head.weight",
        ];
        assert_eq!(published(Family::InternVl), internvl);
    }
}
