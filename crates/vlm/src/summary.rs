//! What a checkpoint is, from its config and the headers of its files: no weight is read.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tch::Kind;

use crate::{
    VlmError,
    checkpoint::{CheckpointError, CheckpointFolder, MismatchedTensor},
    footprint::Footprint,
    lora::{LoraSettings, base_of, is_adapter},
    model::{Network, ParamSpec, PartOfModel, VlmConfig},
    policy::{HEAD, NOT_PARAMETERS},
};

/// What a folder holds and what using it needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointSummary {
    /// The folder.
    pub path: PathBuf,
    /// `model_type` of its config.
    pub family: &'static str,
    /// Parameters that the config asks for.
    pub parameters: PartSizes,
    /// Elements in the files by their number type.
    pub stored: BTreeMap<String, u64>,
    /// Where the logits come from.
    pub head: HeadKind,
    /// Tensors that the config asks for and no file has.
    pub missing: Vec<String>,
    /// Tensors that a file has and the config does not ask for.
    pub unexpected: Vec<String>,
    /// Tensors of another shape than the config says.
    pub misshaped: Vec<MismatchedTensor>,
    /// Tensors in a number type that weights cannot have.
    pub mistyped: Vec<MismatchedTensor>,
    /// What of the four lists is wrong, in words; none when files and config agree.
    pub problem: Option<String>,
    /// Memory by what is done with the model.
    pub needs: Vec<Need>,
    /// Among how many ranks `needs` divides the optimizer's state.
    pub ranks: u64,
    /// Bytes in fp32 that the kept features of an image take for each of its tokens ([`crate::VlmOptions::feature_memory`]).
    pub bytes_per_image_token: u64,
    /// Bytes that keys and values of a token take in fp32, half of it in bf16.
    pub kv_bytes_per_token: u64,
    /// Bytes that layers without attention remember of each answer, however long, in fp32; 0 where all attend.
    pub state_bytes_per_answer: u64,
}

/// Parameters by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartSizes {
    /// Vision tower without merger.
    pub vision_tower: u64,
    /// Mergers, DeepStack's too.
    pub merger: u64,
    /// Embedding, layers and last norm.
    pub decoder: u64,
    /// The head; 0 when it is the embedding.
    pub head: u64,
    /// All of them.
    pub total: u64,
}

/// Where the logits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// A matrix of its own.
    Own,
    /// The embedding.
    Tied,
    /// The embedding by the config, but a head is stored: it counts if its values are others, which headers do not say.
    TiedButStored,
}

/// Memory for one use of the model in one number type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Number type of the weights in memory.
    pub dtype: &'static str,
    /// What is done.
    pub mode: &'static str,
    /// Bytes by purpose.
    pub bytes: Footprint,
    /// All bytes.
    pub total: u64,
}

/// What can be done with a model: the parts that learn, and whether there is a KL reference.
const MODES: [(&str, &[PartOfModel], bool); 5] = [
    ("generate, eval", &[], false),
    ("sft, grpo without KL", &PartOfModel::ALL, false),
    ("grpo with KL", &PartOfModel::ALL, true),
    ("sft, grpo without KL, only decoder", &[PartOfModel::Decoder], false),
    ("grpo with KL, only decoder", &[PartOfModel::Decoder], true),
];

impl CheckpointSummary {
    /// With the memory that each of `ranks` ranks needs that divide the optimizer's state (`run.shard = "optimizer"`).
    #[must_use]
    pub fn divided(mut self, ranks: u64) -> Self {
        for need in &mut self.needs {
            need.bytes = need.bytes.divided(ranks);
            need.total = need.bytes.total();
        }
        Self { ranks, ..self }
    }

    /// Reads config and headers. Files that cannot be opened, or a config that is not supported, are errors; tensors
    /// that do not fit the config are part of the summary.
    /// Of an adapter's folder: what it says of its base.
    pub fn open(dir: &Path) -> Result<Self, VlmError> {
        if is_adapter(dir) {
            return Self::open(&base_of(dir)?);
        }
        let config = VlmConfig::open(dir)?;
        let folder = CheckpointFolder::open(dir)?;
        let specs = Network::declare(&config);
        let expected: Vec<_> = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
        let mut summary = Self {
            path: dir.to_owned(),
            family: config.family.model_type(),
            parameters: PartSizes::of(&specs),
            stored: folder.numel_by_dtype(),
            head: match (config.tie_word_embeddings, folder.names().any(|name| name == HEAD)) {
                (false, _) => HeadKind::Own,
                (true, false) => HeadKind::Tied,
                (true, true) => HeadKind::TiedButStored,
            },
            missing: Vec::new(),
            unexpected: Vec::new(),
            misshaped: Vec::new(),
            mistyped: Vec::new(),
            problem: None,
            ranks: 1,
            needs: needs(&specs, &LoraSettings::default().specs(&config)?),
            bytes_per_image_token: 4
                * (config.vision.out_hidden_size * config.vision.features_per_token()) as u64,
            kv_bytes_per_token: config.text.kv_bytes_per_token(4),
            state_bytes_per_answer: config.text.state_bytes_per_sequence(4),
        };
        let Err(error) = folder.check(&expected, &NOT_PARAMETERS) else { return Ok(summary) };
        summary.problem = Some(error.to_string());
        match error {
            CheckpointError::Mismatch { missing, unexpected, misshaped, mistyped, .. } => {
                Ok(Self { missing, unexpected, misshaped, mistyped, ..summary })
            }
            other => Err(other.into()),
        }
    }
}

impl PartSizes {
    fn of(specs: &[ParamSpec]) -> Self {
        let mut sizes = Self::default();
        for spec in specs {
            let size = match spec.part() {
                PartOfModel::VisionTower => &mut sizes.vision_tower,
                PartOfModel::Merger => &mut sizes.merger,
                PartOfModel::Decoder if spec.name == HEAD => &mut sizes.head,
                PartOfModel::Decoder => &mut sizes.decoder,
            };
            *size += spec.numel() as u64;
            sizes.total += spec.numel() as u64;
        }
        sizes
    }
}

fn needs(specs: &[ParamSpec], adapter: &[ParamSpec]) -> Vec<Need> {
    let of = |(dtype, kind)| {
        let full = MODES.map(|(mode, parts, has_reference)| {
            (mode, Footprint::new(specs, kind, |part| parts.contains(&part), has_reference))
        });
        let lora =
            ("sft, grpo, LoRA of rank 16 on the decoder", Footprint::with_adapter(specs, kind, adapter));
        full.into_iter().chain([lora]).map(move |(mode, bytes)| Need {
            dtype,
            mode,
            bytes,
            total: bytes.total(),
        })
    };
    [("fp32", Kind::Float), ("bf16", Kind::BFloat16)].into_iter().flat_map(of).collect()
}

impl fmt::Display for CheckpointSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartSizes { vision_tower, merger, decoder, head, total } = self.parameters;
        let stored: Vec<String> = self.stored.iter().map(|(dtype, n)| format!("{n} in {dtype}")).collect();
        writeln!(f, "checkpoint       {}", self.path.display())?;
        writeln!(f, "family           {}", self.family)?;
        writeln!(f, "parameters       {total}")?;
        writeln!(f, "  vision tower   {vision_tower}")?;
        writeln!(f, "  merger         {merger}")?;
        writeln!(f, "  decoder        {decoder}")?;
        match self.head {
            HeadKind::Own => writeln!(f, "  head           {head}")?,
            HeadKind::Tied => writeln!(f, "  head           is the embedding")?,
            HeadKind::TiedButStored => writeln!(
                f,
                "  head           is the embedding, unless the stored head has other values and adds its parameters"
            )?,
        }
        writeln!(f, "stored           {}", stored.join(", "))?;
        writeln!(f, "weights          {}", self.problem.as_deref().unwrap_or("fit the config"))?;
        let of_rank = match self.ranks {
            1 => String::new(),
            n => format!(" of each of {n} ranks with `run.shard = \"optimizer\"`"),
        };
        writeln!(f, "memory in GiB{of_rank} without activations, key-value cache and libtorch:")?;
        writeln!(
            f,
            "{:<50}{:>9}{:>11}{:>8}{:>11}{:>8}{:>8}",
            "", "weights", "gradients", "AdamW", "reference", "update", "total"
        )?;
        for Need { dtype, mode, bytes, total } in &self.needs {
            let gib = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 30));
            writeln!(
                f,
                "  {:<48}{:>9}{:>11}{:>8}{:>11}{:>8}{:>8}",
                format!("{dtype} {mode}"),
                gib(bytes.weights),
                gib(bytes.gradients),
                gib(bytes.adamw),
                gib(bytes.reference),
                gib(bytes.update),
                gib(*total)
            )?;
        }
        writeln!(
            f,
            "kept image features come on top, up to `model.feature_memory_mib`: {} bytes an image token in fp32, half in bf16",
            self.bytes_per_image_token
        )?;
        writeln!(
            f,
            "answers take {} bytes a token in fp32, half in bf16{}",
            self.kv_bytes_per_token,
            match self.state_bytes_per_answer {
                0 => String::new(),
                bytes =>
                    format!(", and {bytes} bytes for each answer that is being written, little less in bf16"),
            }
        )?;
        Ok(())
    }
}
