//! Images to patches, bit for bit as `Qwen2VLImageProcessor` of `transformers` 5 computes them.
//!
//! Resizing is libtorch's own antialiased kernel on 8-bit pixels, which is what torchvision calls, so there is no second
//! implementation to keep equal. Mean and deviation are scaled to levels first, as the reference fuses them.
//!
//! Axes in tensor names: c channel, h row, w column, p patch, d number in a patch (`channel, frame, row, column`).

use std::{path::Path, sync::Arc};

use reft_core::{ImageGrid, ImageRef, ImageSize, PixelBudget};
use tch::{Kind, TchError, Tensor};

use super::{ImageKey, ImageSettings, ProcessorError, decode::decode_rgb, resized::ResizedImages};

/// Bytes of resized pixels that are kept: some 250 images of a megapixel, or 25,000 of 100 x 100.
const KEPT_BYTES: usize = 256 << 20;

/// An image as the vision tower reads it.
pub struct ProcessedImage {
    /// Which it is.
    pub key: ImageKey,
    /// Its patch grid.
    pub grid: ImageGrid,
    /// `[rows * columns, patch_dim]` patches, fp32 on the CPU.
    pub pixels: Tensor,
}

/// Turns encoded images into the patches that the vision tower reads.
#[derive(Clone, Debug)]
pub struct ImageProcessor {
    settings: ImageSettings,
    resized: Arc<ResizedImages>,
}

impl ImageProcessor {
    /// With the settings of a checkpoint folder; areas replace the checkpoint's when given.
    pub fn open(
        dir: &Path,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, ProcessorError> {
        let mut settings = ImageSettings::open(dir)?;
        settings.set_area(min_pixels, max_pixels);
        Ok(Self { settings, resized: Arc::new(ResizedImages::within(KEPT_BYTES)) })
    }

    /// The settings in use.
    pub fn settings(&self) -> &ImageSettings {
        &self.settings
    }

    /// The part of the settings that decides sizes and token counts.
    pub fn budget(&self) -> PixelBudget {
        self.settings.budget()
    }

    /// The patch grid of an image, from its size alone.
    pub fn grid(&self, image: &ImageRef) -> Result<ImageGrid, ProcessorError> {
        self.budget()
            .grid(image.size)
            .map_err(|source| ProcessorError::Geometry { label: image.label.to_string(), source })
    }

    /// Decodes and resizes an image, or finds it so. Its patches are in the order of the decoder's tokens: blocks of
    /// `merge_size^2` patches row by row, patches row by row within a block.
    pub fn process(&self, image: &ImageRef) -> Result<ProcessedImage, ProcessorError> {
        let grid = self.grid(image)?;
        let bytes = image.source.read().map_err(|e| ProcessorError::image(&image.label, e))?;
        let key = ImageKey::new(&bytes, &self.settings);
        let pixels_chw = self.resized.find(key, image.size, || self.decode(image, &bytes, grid.resized))?;
        let pixels =
            self.patches(&pixels_chw, grid.resized).map_err(|e| ProcessorError::image(&image.label, e))?;
        Ok(ProcessedImage { key, grid, pixels })
    }

    /// `[3, h, w]` 8-bit pixels of the model's input size.
    fn decode(&self, image: &ImageRef, bytes: &[u8], resized: ImageSize) -> Result<Tensor, ProcessorError> {
        let rgb = decode_rgb(image, bytes)?;
        let (width, height) = (i64::from(rgb.width()), i64::from(rgb.height()));
        Tensor::f_from_data_size(rgb.as_raw(), &[height, width, 3], Kind::Uint8)
            .and_then(|pixels_hwc| pixels_hwc.f_permute([2, 0, 1]))
            .and_then(|pixels_chw| self.resize(&pixels_chw, resized))
            .map_err(|e| ProcessorError::image(&image.label, e))
    }

    /// Resized 8-bit pixels `[3, h, w]` to patches `[p, d]`.
    fn patches(&self, pixels_chw: &Tensor, resized: ImageSize) -> Result<Tensor, TchError> {
        let pixels_chw = self.normalize(pixels_chw)?;
        let s = &self.settings;
        let (patch, merge, frames) =
            (i64::from(s.patch_size), i64::from(s.merge_size), i64::from(s.temporal_patch_size));
        let (block_rows, block_columns) =
            (i64::from(resized.height) / (patch * merge), i64::from(resized.width) / (patch * merge));
        pixels_chw
            .f_reshape([3, block_rows, merge, patch, block_columns, merge, patch])?
            .f_permute([1, 4, 2, 5, 0, 3, 6])?
            .f_unsqueeze(5)?
            .f_expand([block_rows, block_columns, merge, merge, 3, frames, patch, patch], false)?
            .f_reshape([-1, s.patch_dim() as i64])
    }

    fn resize(&self, pixels_chw: &Tensor, resized: ImageSize) -> Result<Tensor, TchError> {
        let size = [i64::from(resized.height), i64::from(resized.width)];
        if pixels_chw.size()[1..] == size {
            return Ok(pixels_chw.shallow_clone());
        }
        let batch = pixels_chw.f_contiguous()?.f_unsqueeze(0)?;
        let batch = if self.settings.is_bicubic() {
            batch.f_internal_upsample_bicubic2d_aa(size, false, None, None)?
        } else {
            batch.f_internal_upsample_bilinear2d_aa(size, false, None, None)?
        };
        batch.f_squeeze_dim(0)
    }

    fn normalize(&self, pixels_chw: &Tensor) -> Result<Tensor, TchError> {
        let s = &self.settings;
        let per_channel = |values: [f64; 3], scale: f64| {
            // The reference multiplies an fp32 tensor by a number, which fp32 arithmetic must repeat to be equal.
            Tensor::from_slice(&values.map(|v| v as f32)).f_mul_scalar(scale)?.f_view([3, 1, 1])
        };
        let pixels = pixels_chw.f_to_kind(Kind::Float)?;
        match (s.do_rescale, s.do_normalize) {
            (true, true) => {
                let scale = 1.0 / s.rescale_factor;
                pixels.f_sub(&per_channel(s.image_mean, scale)?)?.f_div(&per_channel(s.image_std, scale)?)
            }
            (true, false) => pixels.f_mul_scalar(s.rescale_factor),
            (false, true) => {
                pixels.f_sub(&per_channel(s.image_mean, 1.0)?)?.f_div(&per_channel(s.image_std, 1.0)?)
            }
            (false, false) => Ok(pixels),
        }
    }
}
