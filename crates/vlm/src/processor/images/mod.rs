//! Images to patches, bit for bit as the image processors of `transformers` 5 compute them.
//!
//! An image becomes one or more views, each a grid of patches: Qwen-VL resizes it once, SmolVLM2 and InternVL cut it into
//! tiles and add a small picture of the whole. What a family does is its [`Scheme`]; decoding, keeping and cutting into
//! patches are the same for all.
//!
//! Axes in tensor names: v view, c channel, h row, w column, p patch, d number in a patch (`channel, frame, row, column`).

mod idefics3;
mod internvl;
mod lanczos;
mod levels;
mod qwen;
mod scheme;

use std::{path::Path, sync::Arc};

use reft_core::{ImageGrid, ImageRef, PixelBudget};
use serde_json::Value;
use tch::{TchError, Tensor};

use self::{idefics3::SplitImages, internvl::TiledImages, qwen::ResizedToArea, scheme::Scheme};
pub use scheme::ImageViews;

use super::{ImageKey, ProcessorError, decode::decode_rgb, read_json, resized::ResizedImages};
use crate::model::{Family, VisionConfig, VlmConfig};

/// Bytes of resized pixels that are kept: some 250 images of a megapixel, or 25,000 of 100 x 100.
const KEPT_BYTES: usize = 256 << 20;

/// A view of an image as the vision tower reads it.
pub struct ProcessedView {
    /// Which it is.
    pub key: ImageKey,
    /// Its patch grid.
    pub grid: ImageGrid,
    /// `[rows * columns, patch_dim]` patches, fp32 on the CPU.
    pub pixels: Tensor,
}

/// The family that a processor's file belongs to, when it is another one.
fn other_family(json: &Value, family: Family) -> Option<&'static str> {
    let stored = json["image_processor_type"].as_str()?;
    let (of, families): (_, &[Family]) = match stored.trim_end_matches("Fast") {
        "Qwen2VLImageProcessor" => {
            ("Qwen-VL", &[Family::Qwen2Vl, Family::Qwen2_5Vl, Family::Qwen3Vl, Family::Qwen3_5])
        }
        "SmolVLMImageProcessor" | "Idefics3ImageProcessor" => {
            ("SmolVLM2 and Idefics3", &[Family::SmolVlm, Family::Idefics3])
        }
        "GotOcr2ImageProcessor" => ("InternVL", &[Family::InternVl]),
        // A name of its own does not make the settings unusable.
        _ => return None,
    };
    (!families.contains(&family)).then_some(of)
}

/// Turns encoded images into the patches that the vision tower reads.
#[derive(Clone, Debug)]
pub struct ImageProcessor {
    scheme: Arc<dyn Scheme>,
    resized: Arc<ResizedImages>,
}

impl ImageProcessor {
    /// With the settings of a checkpoint folder; areas in pixels replace the checkpoint's when given.
    pub fn open(
        dir: &Path,
        config: &VlmConfig,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, ProcessorError> {
        let nested = dir.join("processor_config.json");
        let flat = dir.join("preprocessor_config.json");
        let whole = read_json(&nested)?.unwrap_or_default();
        let (path, json) = match whole.get("image_processor") {
            Some(json) => (nested.clone(), json.clone()),
            None => match read_json(&flat)? {
                Some(json) => (flat, json),
                None => {
                    return Err(ProcessorError::file(flat, "is missing, and so is `processor_config.json`"));
                }
            },
        };
        if let Some(other) = other_family(&json, config.family) {
            let message = format!(
                "is the image processor of {other}, and the model is `{}`; take the file that belongs to the weights",
                config.family.model_type()
            );
            return Err(ProcessorError::file(path, message));
        }
        let vision = &config.vision;
        let scheme: Result<Arc<dyn Scheme>, String> =
            match config.family {
                Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Qwen3Vl | Family::Qwen3_5 => {
                    ResizedToArea::read(json, min_pixels, max_pixels).map(|scheme| Arc::new(scheme) as _)
                }
                Family::SmolVlm | Family::Idefics3 => SplitImages::read(json, vision, min_pixels, max_pixels)
                    .map(|scheme| Arc::new(scheme) as _),
                Family::InternVl => TiledImages::read(json, vision, min_pixels, max_pixels)
                    .map(|scheme| Arc::new(scheme) as _),
            };
        let scheme = scheme.map_err(|message| ProcessorError::file(path, message))?;
        let stated = ["image_seq_len", "image_seq_length"].iter().find_map(|key| whole[key].as_u64());
        if let (Some(stated), Some(made)) = (stated, scheme.tokens_per_view())
            && stated != made as u64
        {
            let message = format!(
                "says {stated} tokens a view, and the tower makes {made} of one; take the file that belongs to the weights"
            );
            return Err(ProcessorError::file(nested, message));
        }
        Ok(Self { scheme, resized: Arc::new(ResizedImages::within(KEPT_BYTES)) })
    }

    /// The part of the settings that decides sizes, for a family whose images are resized as a whole.
    pub fn budget(&self) -> Option<PixelBudget> {
        self.scheme.budget()
    }

    /// Control tokens that stand around views.
    pub(crate) fn control_tokens(&self) -> &'static [&'static str] {
        self.scheme.control_tokens()
    }

    /// What is wrong with making views for a tower of this config; none where they fit.
    pub(crate) fn mismatch(&self, vision: &VisionConfig) -> Option<String> {
        self.scheme.mismatch(vision)
    }

    /// The views of an image, from its size alone.
    pub fn views(&self, image: &ImageRef) -> Result<ImageViews, ProcessorError> {
        self.scheme
            .views(image.size)
            .map_err(|source| ProcessorError::Geometry { label: image.label.to_string(), source })
    }

    /// What tells an image encoded in `bytes` from others under these settings.
    pub fn key(&self, bytes: &[u8]) -> ImageKey {
        // All settings: sizes, filter, scale, mean and deviation.
        ImageKey::of(bytes, &format!("{:?}", self.scheme))
    }

    /// Decodes and resizes an image, or finds it so. The patches of a view are in the order of the decoder's tokens: blocks
    /// of the patches that merge row by row, patches row by row within a block.
    pub fn process(&self, image: &ImageRef) -> Result<Vec<ProcessedView>, ProcessorError> {
        let views = self.views(image)?;
        let bytes = image.source.read().map_err(|e| ProcessorError::image(&image.label, e))?;
        let key = self.key(&bytes);
        let pixels_vchw = self.resized.find(key, image.size, || {
            let rgb = decode_rgb(image, &bytes)?;
            self.scheme.pixels(&rgb, &views).map_err(|e| ProcessorError::image(&image.label, e))
        })?;
        let made = views.grids.iter().enumerate().map(|(n, &grid)| {
            let pixels = self.patches(&pixels_vchw.f_select(0, n as i64)?, grid)?;
            Ok(ProcessedView { key: key.view(n), grid, pixels })
        });
        made.collect::<Result<_, TchError>>().map_err(|e| ProcessorError::image(&image.label, e))
    }

    /// 8-bit pixels `[c, h, w]` of a view to patches `[p, d]`. What is beyond the last whole patch is left out.
    fn patches(&self, pixels_chw: &Tensor, grid: ImageGrid) -> Result<Tensor, TchError> {
        let shape = self.scheme.patch_shape();
        let (patch, merge, frames) =
            (i64::from(shape.patch_size), i64::from(shape.merge_size), i64::from(shape.frames));
        let (rows, columns) = (grid.rows as i64, grid.columns as i64);
        let (block_rows, block_columns) = (rows / merge, columns / merge);
        self.scheme
            .levels()
            .normalize(&pixels_chw.f_narrow(1, 0, rows * patch)?.f_narrow(2, 0, columns * patch)?)?
            .f_reshape([3, block_rows, merge, patch, block_columns, merge, patch])?
            .f_permute([1, 4, 2, 5, 0, 3, 6])?
            .f_unsqueeze(5)?
            .f_expand([block_rows, block_columns, merge, merge, 3, frames, patch, patch], false)?
            .f_reshape([-1, 3 * frames * patch * patch])
    }
}
