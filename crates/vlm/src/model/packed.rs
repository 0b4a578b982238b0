//! Groups packed for one forward pass: each prompt once, its completions behind it, no padding in linear layers.
//!
//! Layout of the packed tokens: all prompts, then all completions. A completion attends to its prompt and to itself.
//! The last token of a completion is never fed: nothing is predicted from it.
//!
//! Axes in tensor names: t packed token, c predicted token, k image token, p patch, h head, d width.

use std::{cell::OnceCell, collections::HashMap, sync::Arc};

use reft_core::ImageGrid;
use tch::{Device, Kind, Tensor};

use super::{
    KeptFeatures, VisionFeatures, VisionTower,
    decoder::{DecoderInput, TokenPlan},
    delta_net::{DeltaInputs, DeltaMemory, DeltaState},
    packed_attention::PackedAttention,
    packed_memory::PackedMemory,
    padded::GroupLengths,
    positions::{ImagePositions, PromptPositions, prompt_positions as positions_of},
};
use crate::processor::{EncodedPrompt, ImageKey, ImageSpan};

/// Prompts and completions, ready for [`Network::forward`](super::Network::forward).
pub struct PackedBatch {
    /// `[t]` token ids.
    pub tokens_t: Tensor,
    /// `[3, t]` M-RoPE positions.
    pub positions_3t: Tensor,
    /// Images of all prompts, when there are any.
    pub images: Option<PackedImages>,
    /// `[c]` packed token whose hidden state predicts each completion token.
    pub predictors_c: Tensor,
    /// `[c]` the completion tokens, completion after completion.
    pub targets_c: Tensor,
    /// Positions of the prompts; a rollout continues from them.
    pub prompt_positions: Vec<PromptPositions>,
    attention: PackedAttention,
    sequences: SequenceLengths,
    /// Of layers without attention; made when the first of them asks.
    memory: OnceCell<PackedMemory>,
}

/// Tokens of prompts and of what is fed of completions, and whose the completions are.
struct SequenceLengths {
    prompts: Vec<i64>,
    completions: Vec<i64>,
    owners: Vec<usize>,
}

impl SequenceLengths {
    fn by_group(&self) -> GroupLengths<'_> {
        GroupLengths { prompts: &self.prompts, completions: &self.completions, owners: &self.owners }
    }
}

/// Images of a batch. An image that several prompts show is here once.
pub struct PackedImages {
    /// The images in the order of their features.
    pub images: Vec<PackedImage>,
    /// Their grids.
    pub grids: Vec<ImageGrid>,
    /// `[k]` packed tokens that the images' features replace.
    pub tokens_k: Tensor,
    /// `[k]` which feature each of them gets; none when they come in order, one each.
    rows_k: Option<Tensor>,
    kept: Arc<KeptFeatures>,
    kind: Kind,
}

/// An image of a batch.
pub struct PackedImage {
    /// Which it is.
    pub key: ImageKey,
    /// Its grid.
    pub grid: ImageGrid,
    /// `[p, patch_dim]`, fp32 on the CPU.
    pixels: Tensor,
}

impl PackedImages {
    /// `[p, patch_dim]` pixels of all images as the tower reads them.
    pub fn pixels_pd(&self) -> Tensor {
        let pixels: Vec<&Tensor> = self.images.iter().map(|image| &image.pixels).collect();
        self.for_tower(&Tensor::cat(&pixels, 0))
    }

    /// The tower's features of all images. Where no gradient is asked for, each image is encoded by itself, unless its
    /// features are kept, so that they depend on the image and the weights alone.
    pub fn features(&self, tower: &VisionTower) -> VisionFeatures {
        match tower.fixed() {
            Some(memory) => {
                let find = |image: &PackedImage| {
                    let encode = || tower.forward(&self.for_tower(&image.pixels), &[image.grid]);
                    self.kept.find(memory, image.key, encode)
                };
                VisionFeatures::concat(&self.images.iter().map(find).collect::<Vec<_>>())
            }
            None => tower.forward(&self.pixels_pd(), &self.grids),
        }
    }

    /// [`PackedImages::features`], but each image by itself in any case.
    pub(super) fn features_one_by_one(&self, tower: &VisionTower) -> VisionFeatures {
        if tower.fixed().is_some() {
            return self.features(tower);
        }
        let encode = |image: &PackedImage| tower.forward(&self.for_tower(&image.pixels), &[image.grid]);
        VisionFeatures::concat(&self.images.iter().map(encode).collect::<Vec<_>>())
    }

    fn for_tower(&self, pixels: &Tensor) -> Tensor {
        pixels.to_device(self.tokens_k.device()).to_kind(self.kind)
    }

    /// Puts the tower's features at the image tokens.
    pub(super) fn put(&self, text: &DecoderInput, features: VisionFeatures) -> DecoderInput {
        let features = match &self.rows_k {
            Some(rows_k) => features.select(rows_k),
            None => features,
        };
        text.with_images(&self.tokens_k, features)
    }
}

/// Collects the distinct images of a batch.
#[derive(Default)]
struct DistinctImages<'a> {
    images: Vec<&'a ImageSpan>,
    /// The row of each image's first feature.
    first_rows: HashMap<ImageKey, usize>,
    n_rows: usize,
    rows: Vec<i64>,
    tokens: Vec<i64>,
}

impl<'a> DistinctImages<'a> {
    /// An image whose first packed token is `start`.
    fn push(&mut self, image: &'a ImageSpan, start: usize) {
        let first = *self.first_rows.entry(image.key).or_insert_with(|| {
            self.images.push(image);
            self.n_rows += image.grid.tokens;
            self.n_rows - image.grid.tokens
        });
        self.rows.extend((first..first + image.grid.tokens).map(|row| row as i64));
        self.tokens.extend((start..start + image.grid.tokens).map(|token| token as i64));
    }

    fn pack(self, kind: Kind, device: Device, kept: &Arc<KeptFeatures>) -> Option<PackedImages> {
        let repeats = self.rows.len() > self.n_rows;
        let pack = |image: &&ImageSpan| PackedImage {
            key: image.key,
            grid: image.grid,
            pixels: image.pixels.shallow_clone(),
        };
        (!self.images.is_empty()).then(|| PackedImages {
            images: self.images.iter().map(pack).collect(),
            grids: self.images.iter().map(|image| image.grid).collect(),
            tokens_k: Tensor::from_slice(&self.tokens).to_device(device),
            rows_k: repeats.then(|| Tensor::from_slice(&self.rows).to_device(device)),
            kept: Arc::clone(kept),
            kind,
        })
    }
}

impl PackedBatch {
    /// Packs prompts, each with its completions' token ids (none for a prefill). Features of images that are known are
    /// taken from `kept`.
    pub fn new(
        groups: &[(&EncodedPrompt, Vec<&[i64]>)],
        image_positions: ImagePositions,
        kind: Kind,
        device: Device,
        kept: &Arc<KeptFeatures>,
    ) -> Self {
        let (mut tokens, mut positions) = (Vec::new(), Vec::new());
        let mut images = DistinctImages::default();
        let (mut prompt_lengths, mut prompt_positions) = (Vec::new(), Vec::new());
        for (prompt, _) in groups {
            let first = tokens.len();
            tokens.extend_from_slice(&prompt.token_ids);
            let spans: Vec<(usize, ImageGrid)> = prompt.images.iter().map(|i| (i.start, i.grid)).collect();
            let of_prompt = positions_of(prompt.token_ids.len(), &spans, image_positions);
            positions.extend_from_slice(&of_prompt.thw);
            prompt_positions.push(of_prompt);
            for image in &prompt.images {
                images.push(image, first + image.start);
            }
            prompt_lengths.push(prompt.token_ids.len() as i64);
        }

        let (mut predictors, mut targets) = (Vec::new(), Vec::new());
        let (mut fed_lengths, mut owners) = (Vec::new(), Vec::new());
        let mut prompt_end = 0;
        for (n, (_, completions)) in groups.iter().enumerate() {
            prompt_end += prompt_lengths[n];
            for completion in completions {
                let Some((_, fed)) = completion.split_last() else { continue };
                let first = tokens.len() as i64;
                predictors.push(prompt_end - 1);
                predictors.extend((0..fed.len() as i64).map(|l| first + l));
                targets.extend_from_slice(completion);
                tokens.extend_from_slice(fed);
                positions.extend((0..fed.len() as i64).map(|l| [prompt_positions[n].next + l; 3]));
                fed_lengths.push(fed.len() as i64);
                owners.push(n);
            }
        }

        let sequences = SequenceLengths { prompts: prompt_lengths, completions: fed_lengths, owners };
        let images = images.pack(kind, device, kept);
        let positions_3t = Tensor::from_slice(positions.as_flattened()).view([-1, 3]).transpose(0, 1);
        Self {
            tokens_t: Tensor::from_slice(&tokens).to_device(device),
            positions_3t: positions_3t.to_device(device),
            images,
            predictors_c: Tensor::from_slice(&predictors).to_device(device),
            targets_c: Tensor::from_slice(&targets).to_device(device),
            prompt_positions,
            attention: PackedAttention::of_groups(&sequences.by_group(), kind, device),
            sequences,
            memory: OnceCell::new(),
        }
    }

    /// Outputs `[t, h, d]` of a layer without attention, and what it remembers behind each prompt.
    pub fn remember(&self, memory: &DeltaMemory, inputs: &DeltaInputs) -> (Tensor, DeltaState) {
        let device = inputs.mixed.device();
        let packed = self.memory.get_or_init(|| PackedMemory::new(&self.sequences.by_group(), device));
        packed.run(memory, inputs)
    }

    /// Packed tokens: what the linear layers work on.
    pub fn n_tokens(&self) -> i64 {
        self.tokens_t.size()[0]
    }
}

/// The plan of a training pass, or of a prefill when there are no completions.
impl TokenPlan for &PackedBatch {
    fn attend(&mut self, _layer: usize, q_thd: &Tensor, k_thd: &Tensor, v_thd: &Tensor) -> Tensor {
        self.attention.attend(q_thd, k_thd, v_thd)
    }

    fn remember(&mut self, _layer: usize, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor {
        PackedBatch::remember(self, memory, inputs).0
    }
}
