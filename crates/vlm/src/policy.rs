//! The policy: network, parameters and processor of one checkpoint.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_core::{Checkpointed, Message, Seed, StageError};
use tch::{Device, Kind, Tensor};

use crate::{
    VlmError,
    checkpoint::{CheckpointFolder, SaveOptions, save_folder},
    init::randomize,
    lora::{self, Lora, LoraOption, base_of, is_adapter},
    model::{KeptFeatures, Network, PackedBatch, ParamStore, PartOfModel, VlmConfig, canonical_name},
    processor::{EncodedPrompt, Processor},
};

/// The head's name in every family.
pub(crate) const HEAD: &str = "lm_head.weight";

/// Tensors that a folder may hold beside its parameters: a tied head is sometimes stored all the same, and old exports
/// hold rotary frequencies.
pub(crate) const NOT_PARAMETERS: [&str; 3] =
    [HEAD, "model.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq"];

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
    /// Low-rank updates beside the weights, which then never change.
    pub lora: Option<LoraOption>,
    /// Export the merged checkpoint beside the adapter.
    pub merge: bool,
    /// Bytes of image features that are kept from pass to pass; 0 keeps none.
    pub feature_memory: u64,
    /// Bytes that a rollout's keys and values may take; none leaves it to the engine.
    pub kv_memory: Option<u64>,
}

impl Default for VlmOptions {
    fn default() -> Self {
        Self {
            kind: Kind::Float,
            device: Device::Cpu,
            min_pixels: None,
            max_pixels: None,
            init: None,
            lora: None,
            merge: false,
            feature_memory: 256 << 20,
            kv_memory: None,
        }
    }
}

/// A vision-language model with everything needed to ask it something.
pub struct Vlm {
    config: VlmConfig,
    processor: Processor,
    params: ParamStore,
    lora: Option<Lora>,
    network: Network,
    folder: PathBuf,
    options: VlmOptions,
    /// `[vocab]` 0 for tokens that may be sampled, -inf for control tokens and rows beyond the tokenizer.
    allowed_v: Tensor,
    kept: Arc<KeptFeatures>,
}

/// The reference of a KL penalty: a network that does not learn.
pub struct FrozenNetwork {
    params: ParamStore,
    network: Network,
}

impl FrozenNetwork {
    /// The frozen network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters that it does not share with the policy.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }
}

impl Vlm {
    /// Opens a Hugging Face folder: a checkpoint, or an adapter as PEFT writes it, whose base is then opened too.
    pub fn open(dir: &Path, mut options: VlmOptions) -> Result<Self, VlmError> {
        if !is_adapter(dir) {
            return Self::open_base(dir, options);
        }
        if options.lora.is_some() {
            let message = "is an adapter; name its base model here and the folder as the adapter to continue";
            return Err(VlmError::Mismatch { path: dir.to_owned(), message: message.into() });
        }
        options.lora = Some(LoraOption::Folder { dir: dir.to_owned(), dropout: None, seed: Seed::new(0) });
        Self::open_base(&base_of(dir)?, options)
    }

    fn open_base(dir: &Path, options: VlmOptions) -> Result<Self, VlmError> {
        let mut config = VlmConfig::open(dir)?;
        if options.init.is_none() && config.tie_word_embeddings {
            config.tie_word_embeddings = !has_own_head(dir)?;
        }
        let processor = Processor::open(dir, &config, options.min_pixels, options.max_pixels)?;
        check_agreement(dir, &config, &processor)?;
        let specs = Network::declare(&config);
        let params = ParamStore::zeros(&specs, options.kind, options.device);
        match options.init {
            Some(seed) => randomize(&params, seed),
            None => load_into(&params, dir)?,
        }
        let lora =
            options.lora.as_ref().map(|option| Lora::open(option, &config, options.device)).transpose()?;
        let network = match &lora {
            Some(lora) => lora.network(&params, lora.params(), &config, None),
            None => Network::new(&mut params.source(), &config),
        };
        let allowed_v = allowed_tokens(&config, &processor).to_device(options.device);
        let kept = Arc::new(KeptFeatures::within(options.feature_memory));
        Ok(Self {
            config,
            processor,
            params,
            lora,
            network,
            folder: dir.to_owned(),
            options,
            allowed_v,
            kept,
        })
    }

    /// The same checkpoint with another adapter, a folder as PEFT writes it: weights are shared, not copied. It must be
    /// an adapter of this base; what the folder calls it is not asked.
    pub fn with_adapter(&self, dir: &Path) -> Result<Self, VlmError> {
        let option = LoraOption::Folder { dir: dir.to_owned(), dropout: None, seed: Seed::new(0) };
        let lora = Lora::open(&option, &self.config, self.options.device)?;
        let params = self.params.shared();
        let network = lora.network(&params, lora.params(), &self.config, None);
        Ok(Self {
            config: self.config.clone(),
            processor: self.processor.clone(),
            params,
            lora: Some(lora),
            network,
            folder: self.folder.clone(),
            options: VlmOptions { lora: Some(option), ..self.options.clone() },
            allowed_v: self.allowed_v.shallow_clone(),
            kept: Arc::new(KeptFeatures::within(self.options.feature_memory)),
        })
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

    /// The checkpoint's parameters.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    /// The adapter, when there is one.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The parameters that learn: the adapter's when there is one, else the checkpoint's.
    pub fn learned(&self) -> &ParamStore {
        self.lora.as_ref().map_or(&self.params, Lora::params)
    }

    /// [`Self::learned`], to be changed by an optimizer.
    pub fn learned_mut(&mut self) -> &mut ParamStore {
        self.lora.as_mut().map_or(&mut self.params, Lora::params_mut)
    }

    /// The network with the adapter's dropout for one pass of training; none where nothing is dropped. It shares all
    /// memory with [`Self::network`]. Which inputs are dropped depends on the arguments alone.
    pub fn with_dropout(&self, phase: &str, step: u64, pass: usize) -> Option<Network> {
        let lora = self.lora.as_ref()?;
        let seed = lora.dropout_seed(phase, step, pass)?;
        Some(lora.network(&self.params, lora.params(), &self.config, Some(seed)))
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
        PackedBatch::new(
            groups,
            self.config.image_positions(),
            self.options.kind,
            self.options.device,
            &self.kept,
        )
    }

    /// Tokens whose keys and values fit into the memory that was given for them; none where none was.
    pub fn kv_tokens(&self) -> Option<usize> {
        let tokens = self.options.kv_memory? / self.kv_bytes_per_token();
        Some(usize::try_from(tokens).unwrap_or(usize::MAX))
    }

    /// Tokens whose keys and values take as much memory as layers without attention need for one sequence; 0 where there
    /// are no such layers.
    pub fn state_tokens(&self) -> usize {
        let bytes = self.config.text.state_bytes_per_sequence(self.options.kind.elt_size_in_bytes());
        usize::try_from(bytes.div_ceil(self.kv_bytes_per_token())).unwrap_or(usize::MAX)
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.config.text.kv_bytes_per_token(self.options.kind.elt_size_in_bytes()).max(1)
    }

    /// Image features that passes of this policy and of its references share.
    pub fn kept_features(&self) -> &KeptFeatures {
        &self.kept
    }

    /// `[vocab]` to be added to logits: -inf for tokens that are never sampled (vision control tokens, special tokens
    /// other than the end token, embedding rows that no token has). Sampler and trainer add the same vector.
    pub fn allowed_tokens(&self) -> &Tensor {
        &self.allowed_v
    }

    /// The policy as it is now, frozen: a copy of what learns, which is all weights or the adapter alone.
    pub fn freeze(&self) -> FrozenNetwork {
        let params = self.learned().frozen_copy();
        let network = match &self.lora {
            Some(lora) => lora.network(&self.params, &params, &self.config, None),
            None => Network::new(&mut params.source(), &self.config),
        };
        FrozenNetwork { params, network }
    }

    /// The policy as it was opened, frozen: the checkpoint's weights, and the adapter that was continued. A new adapter
    /// changes nothing, so it is left away and nothing is copied.
    pub fn freeze_start(&self) -> Result<FrozenNetwork, VlmError> {
        if let (Some(LoraOption::New { .. }), Some(base)) = (&self.options.lora, self.without_adapter()) {
            return Ok(base);
        }
        let frozen = self.freeze();
        match (&self.options.lora, self.options.init) {
            (Some(LoraOption::Folder { dir, .. }), _) => lora::load_params(dir, &frozen.params)?,
            (_, Some(seed)) => randomize(&frozen.params, seed),
            (_, None) => load_into(&frozen.params, &self.folder)?,
        }
        Ok(frozen)
    }

    /// The policy with its adapter switched off, in the same memory; none when it has no adapter.
    pub fn without_adapter(&self) -> Option<FrozenNetwork> {
        self.lora.as_ref()?;
        let network = Network::new(&mut self.params.source(), &self.config);
        Some(FrozenNetwork {
            params: ParamStore::zeros(&[], self.options.kind, self.options.device),
            network,
        })
    }

    /// Which parts take gradients. With an adapter, the checkpoint's own parameters never do.
    pub fn set_trainable(&self, trainable: impl Fn(PartOfModel) -> bool) {
        if self.lora.is_some() {
            self.params.set_trainable(|_| false);
        }
        self.learned().set_trainable(trainable);
    }

    /// Writes a Hugging Face folder with weights of the given number type, the adapter merged into them.
    pub fn save_as(&self, dir: &Path, kind: Kind) -> Result<(), VlmError> {
        self.save_with(dir, &SaveOptions::new(kind))
    }

    /// [`Self::save_as`] in files of at most `max_shard_bytes`.
    pub fn save_sharded(&self, dir: &Path, kind: Kind, max_shard_bytes: u64) -> Result<(), VlmError> {
        self.save_with(dir, &SaveOptions { max_shard_bytes, ..SaveOptions::new(kind) })
    }

    fn save_with(&self, dir: &Path, options: &SaveOptions<'_>) -> Result<(), VlmError> {
        let published = |name: &str| self.config.family.published_name(name);
        let tensors: Vec<(String, Tensor)> =
            self.params.params().iter().map(|p| (published(&p.spec.name), p.tensor.detach())).collect();
        let merged = |name: &str, tensor: &Tensor| match self.update_of(name) {
            Some(update) => tch::no_grad(|| tensor.to_kind(Kind::Float) + update),
            None => tensor.shallow_clone(),
        };
        Ok(save_folder(dir, &tensors, &SaveOptions { change: &merged, ..*options }, &self.folder)?)
    }

    fn update_of(&self, published: &str) -> Option<Tensor> {
        self.lora.as_ref()?.update_of(&canonical_name(published))
    }
}

/// Weights in the number type of memory, so that a restored policy has the same bits. With an adapter, the adapter alone:
/// the other weights are the start checkpoint's. The final folder holds the merged checkpoint too when that was asked for.
/// Numbers that a digest reads at a time.
const DIGEST_PIECE: i64 = 1 << 24;

/// The bits of a tensor's numbers summed, each weighted by its position; wraps around.
fn digest(x: &Tensor) -> i64 {
    let bits = x.view_dtype(match x.kind() {
        Kind::Float => Kind::Int,
        _ => Kind::Int16,
    });
    let weights = Tensor::arange(DIGEST_PIECE.min(bits.numel() as i64), (Kind::Int64, x.device())) * 2 + 1;
    bits.split(DIGEST_PIECE, 0).iter().fold(0, |sum: i64, piece| {
        let weighted = piece * weights.narrow(0, 0, piece.size()[0]);
        sum.wrapping_mul(31).wrapping_add(weighted.sum(Kind::Int64).int64_value(&[]))
    })
}

impl Checkpointed for Vlm {
    /// Of the parameters that learn.
    fn digest(&self) -> Option<u64> {
        let buffers = self.learned().buffers().values();
        Some(buffers.fold(0_i64, |sum, buffer| sum.wrapping_mul(31).wrapping_add(digest(buffer))) as u64)
    }

    /// Weights that are not finite are refused: a checkpoint of them would be called the last good one.
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        let is_finite = |buffer: &tch::Tensor| buffer.isfinite().all().int64_value(&[]) == 1;
        if !self.learned().buffers().values().all(is_finite) {
            return Err(StageError::other(
                "policy",
                "the weights are not finite numbers any more, so they are not saved; lower `lr` or \
                 `optimizer.max_grad_norm` and resume from the checkpoint before",
            ));
        }
        match &self.lora {
            Some(lora) => Ok(lora.save(dir, &self.folder)?),
            None => Ok(self.save_as(dir, self.options.kind)?),
        }
    }

    fn export(&self, dir: &Path) -> Result<(), StageError> {
        self.save(dir)?;
        if self.lora.is_some() && self.options.merge {
            self.save_as(&dir.join("merged"), self.options.kind)?;
        }
        Ok(())
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        match &self.lora {
            Some(lora) => Ok(lora.load(dir)?),
            None => Ok(load_into(&self.params, dir)?),
        }
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
    if let Some(message) = processor.images().mismatch(&config.vision) {
        return mismatch(message);
    }
    if let Some(token) = processor.missing_tokens().first() {
        return mismatch(format!(
            "`tokenizer.json` has no control token `{token}`, which prompts with images need; take the tokenizer that \
             belongs to the weights"
        ));
    }
    if processor.image_token_id() != Some(config.image_token_id) {
        return mismatch(format!(
            "the tokenizer's image token has id {}, `config.json` says {}",
            processor.image_token_id().unwrap_or_default(),
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
