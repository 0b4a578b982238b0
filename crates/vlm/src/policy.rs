//! The policy: network, parameters and processor of one checkpoint.

use std::path::{Path, PathBuf};

use reft_core::{Checkpointed, Message, Seed, StageError};
use tch::{Device, Kind, Tensor};

use crate::{
    checkpoint::{CheckpointError, CheckpointFolder, save_folder},
    init::randomize,
    model::{ConfigError, Network, PackedBatch, ParamStore, PartOfModel, VlmConfig},
    processor::{EncodedPrompt, Processor, ProcessorError},
};

/// The head's name in every family.
pub(crate) const HEAD: &str = "lm_head.weight";

/// Tensors that a folder may hold beside its parameters: a tied head is sometimes stored all the same, and old exports
/// hold rotary frequencies.
pub(crate) const NOT_PARAMETERS: [&str; 3] =
    [HEAD, "model.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq"];

/// A checkpoint that cannot be opened, run or written.
#[derive(Debug, thiserror::Error)]
pub enum VlmError {
    /// `config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Tokenizer, template, images.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// Config and processor disagree.
    #[error("`{}`: {message}", path.display())]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// What disagrees.
        message: String,
    },
}

impl From<VlmError> for StageError {
    fn from(error: VlmError) -> Self {
        Self::other("model", error)
    }
}

/// How to open a checkpoint.
#[derive(Clone, Debug)]
pub struct VlmOptions {
    /// Number type in memory.
    pub kind: Kind,
    /// Where to compute.
    pub device: Device,
    /// Overrides the processor's smallest image area.
    pub min_pixels: Option<u64>,
    /// Overrides the processor's largest image area.
    pub max_pixels: Option<u64>,
    /// Random weights from this seed instead of the folder's.
    pub init: Option<Seed>,
}

impl Default for VlmOptions {
    fn default() -> Self {
        Self { kind: Kind::Float, device: Device::Cpu, min_pixels: None, max_pixels: None, init: None }
    }
}

/// A vision-language model with everything needed to ask it something.
pub struct Vlm {
    config: VlmConfig,
    processor: Processor,
    params: ParamStore,
    network: Network,
    folder: PathBuf,
    options: VlmOptions,
    /// `[vocab]` 0 for tokens that may be sampled, -inf for control tokens and rows beyond the tokenizer.
    allowed_v: Tensor,
}

/// Frozen weights of an earlier moment: the reference of a KL penalty.
pub struct FrozenNetwork {
    params: ParamStore,
    network: Network,
}

impl FrozenNetwork {
    /// The frozen network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Its parameters.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }
}

impl Vlm {
    /// Opens a Hugging Face folder.
    pub fn open(dir: &Path, options: VlmOptions) -> Result<Self, VlmError> {
        let mut config = VlmConfig::open(dir)?;
        if options.init.is_none() && config.tie_word_embeddings {
            config.tie_word_embeddings = !has_own_head(dir)?;
        }
        let context = config.text.max_position_embeddings;
        let processor = Processor::open(dir, options.min_pixels, options.max_pixels, context)?;
        check_agreement(dir, &config, &processor)?;
        let specs = Network::declare(&config);
        let mut params = ParamStore::zeros(&specs, options.kind, options.device);
        match options.init {
            Some(seed) => randomize(&params, seed),
            None => load_into(&params, dir)?,
        }
        let network = Network::new(&mut params, &config);
        let allowed_v = allowed_tokens(&config, &processor).to_device(options.device);
        Ok(Self { config, processor, params, network, folder: dir.to_owned(), options, allowed_v })
    }

    /// Shapes and constants.
    pub fn config(&self) -> &VlmConfig {
        &self.config
    }

    /// Tokenizer, chat template and image processor.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// Tower and decoder.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    /// The parameters, to be changed by an optimizer.
    pub fn params_mut(&mut self) -> &mut ParamStore {
        &mut self.params
    }

    /// Where the model computes.
    pub fn device(&self) -> Device {
        self.options.device
    }

    /// Number type of the weights.
    pub fn kind(&self) -> Kind {
        self.options.kind
    }

    /// Tokenizes messages and prepares their images; an error when they exceed the context.
    pub fn encode(&self, messages: &[Message]) -> Result<EncodedPrompt, VlmError> {
        Ok(self.processor.encode(messages)?)
    }

    /// Packs prompts with their completions.
    pub fn pack(&self, groups: &[(&EncodedPrompt, Vec<&[i64]>)]) -> PackedBatch {
        let merge = self.config.vision.spatial_merge_size as usize;
        PackedBatch::new(groups, merge, self.options.kind, self.options.device)
    }

    /// `[vocab]` to be added to logits: -inf for tokens that are never sampled (vision control tokens, special tokens
    /// other than the end token, embedding rows that no token has). Sampler and trainer add the same vector.
    pub fn allowed_tokens(&self) -> &Tensor {
        &self.allowed_v
    }

    /// A frozen copy of the weights as they are now.
    pub fn freeze(&self) -> FrozenNetwork {
        let mut params = self.params.frozen_copy();
        let network = Network::new(&mut params, &self.config);
        FrozenNetwork { params, network }
    }

    /// Which parts take gradients.
    pub fn set_trainable(&self, trainable: impl Fn(PartOfModel) -> bool) {
        self.params.set_trainable(trainable);
    }

    /// Writes a Hugging Face folder with weights of the given number type.
    pub fn save_as(&self, dir: &Path, kind: Kind) -> Result<(), VlmError> {
        let published = |name: &str| self.config.family.published_name(name);
        let tensors: Vec<(String, Tensor)> =
            self.params.params().iter().map(|p| (published(&p.spec.name), p.tensor.detach())).collect();
        Ok(save_folder(dir, &tensors, kind, &self.folder)?)
    }
}

/// Weights in the number type of memory, so that a restored policy has the same bits.
impl Checkpointed for Vlm {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        Ok(self.save_as(dir, self.options.kind)?)
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        Ok(load_into(&self.params, dir)?)
    }
}

/// Whether a head is stored that is not the embedding. As in `transformers`, it then counts, whatever the config says.
fn has_own_head(dir: &Path) -> Result<bool, VlmError> {
    let equal = CheckpointFolder::open(dir)?.are_equal([HEAD, "model.embed_tokens.weight"])?;
    Ok(equal == Some(false))
}

fn load_into(params: &ParamStore, dir: &Path) -> Result<(), VlmError> {
    let targets: Vec<(&str, &Tensor)> =
        params.params().iter().map(|p| (p.spec.name.as_str(), &p.tensor)).collect();
    Ok(CheckpointFolder::open(dir)?.read_into(&targets, &NOT_PARAMETERS)?)
}

fn allowed_tokens(config: &VlmConfig, processor: &Processor) -> Tensor {
    let mut allowed = vec![0.0_f32; config.text.vocab_size as usize];
    for id in processor.control_token_ids() {
        if let Some(entry) = allowed.get_mut(id as usize) {
            *entry = f32::NEG_INFINITY;
        }
    }
    let known = processor.tokenizer().vocab_size().min(allowed.len());
    allowed[known..].fill(f32::NEG_INFINITY);
    Tensor::from_slice(&allowed)
}

fn check_agreement(dir: &Path, config: &VlmConfig, processor: &Processor) -> Result<(), VlmError> {
    let mismatch = |message: String| Err(VlmError::Mismatch { path: dir.to_owned(), message });
    let budget = processor.budget();
    if i64::from(budget.patch_size) != config.vision.patch_size
        || i64::from(budget.merge_size) != config.vision.spatial_merge_size
    {
        return mismatch(format!(
            "the image processor makes patches of {} px merged by {}, the vision tower wants {} px merged by {}",
            budget.patch_size, budget.merge_size, config.vision.patch_size, config.vision.spatial_merge_size
        ));
    }
    let (made, wanted) = (processor.images().settings().patch_dim() as i64, config.vision.patch_dim());
    if made != wanted {
        return mismatch(format!(
            "the image processor makes patches of {made} numbers, the vision tower wants {wanted}; compare \
             temporal_patch_size and in_channels"
        ));
    }
    let Some(image_token) = processor.image_token_id() else {
        return mismatch(
            "`tokenizer.json` has no control token `<|image_pad|>`, which stands for images; take the tokenizer that \
             belongs to the weights"
                .into(),
        );
    };
    if image_token != config.image_token_id {
        return mismatch(format!(
            "the tokenizer's image token has id {image_token}, `config.json` says {}",
            config.image_token_id
        ));
    }
    if processor.tokenizer().vocab_size() as i64 > config.text.vocab_size {
        return mismatch(format!(
            "the tokenizer has {} tokens, the embedding only {} rows",
            processor.tokenizer().vocab_size(),
            config.text.vocab_size
        ));
    }
    Ok(())
}
