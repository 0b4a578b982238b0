//! From image size to model-input size and token count, by arithmetic alone.
//!
//! Qwen-VL models take any aspect ratio: both sides are rounded to a multiple of `patch_size * merge_size`, and the
//! area is brought into `[min_pixels, max_pixels]` (Qwen2-VL, arXiv 2409.12191; `smart_resize` in its processor).
//! Data loading, box conversion, rewards and the model's processor all use this one function.

use serde::{Deserialize, Serialize};

use crate::ImageSize;

/// An image that no processor setting can take.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GeometryError {
    /// One side more than 200 times the other.
    #[error("image of {width}x{height} has an aspect ratio above 200; crop it")]
    AspectRatio {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A side of length 0.
    #[error("image of {width}x{height} has no pixels")]
    Empty {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// How the processor resizes: the part of `preprocessor_config.json` that decides sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PixelBudget {
    /// Side of a vision patch in pixels (14 for Qwen2-VL and Qwen2.5-VL, 16 for Qwen3-VL).
    pub patch_size: u32,
    /// Patches merged into one token along each side (2).
    pub merge_size: u32,
    /// Smallest area after resizing, in pixels.
    pub min_pixels: u64,
    /// Largest area after resizing, in pixels.
    pub max_pixels: u64,
}

/// The patch grid of one resized image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGrid {
    /// Size after resizing, in pixels.
    pub resized: ImageSize,
    /// Patch rows.
    pub rows: usize,
    /// Patch columns.
    pub columns: usize,
    /// Tokens in the decoder: `rows * columns / merge_size^2`.
    pub tokens: usize,
}

impl PixelBudget {
    /// The model-input size of an image, and how many tokens it takes.
    pub fn grid(&self, size: ImageSize) -> Result<ImageGrid, GeometryError> {
        let ImageSize { width, height } = size;
        let (long, short) = (width.max(height), width.min(height));
        if short == 0 {
            return Err(GeometryError::Empty { width, height });
        }
        if f64::from(long) / f64::from(short) > 200.0 {
            return Err(GeometryError::AspectRatio { width, height });
        }

        let factor = f64::from(self.patch_size * self.merge_size);
        let (w, h) = (f64::from(width), f64::from(height));
        // Python rounds half to even; so must we to get the same sizes.
        let round = |side: f64| (side / factor).round_ties_even() * factor;
        let (mut rw, mut rh) = (round(w), round(h));
        if rw * rh > self.max_pixels as f64 {
            let beta = (w * h / self.max_pixels as f64).sqrt();
            rw = ((w / beta / factor).floor() * factor).max(factor);
            rh = ((h / beta / factor).floor() * factor).max(factor);
        } else if rw * rh < self.min_pixels as f64 {
            let beta = (self.min_pixels as f64 / (w * h)).sqrt();
            rw = (w * beta / factor).ceil() * factor;
            rh = (h * beta / factor).ceil() * factor;
        }

        let (columns, rows) =
            (rw as usize / self.patch_size as usize, rh as usize / self.patch_size as usize);
        let merge = self.merge_size as usize;
        Ok(ImageGrid {
            resized: ImageSize { width: rw as u32, height: rh as u32 },
            rows,
            columns,
            tokens: rows * columns / (merge * merge),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QWEN: PixelBudget =
        PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 56 * 56, max_pixels: 14 * 14 * 4 * 1280 };

    #[test]
    fn sizes_equal_the_reference() {
        // (width, height) -> (width, height), from `smart_resize` of transformers 5.23 with the budget above.
        let cases = [
            ((224, 224), (224, 224)),
            ((640, 480), (644, 476)),
            ((70, 42), (56, 56)),
            ((30, 20), (84, 56)),
            ((1920, 1080), (1316, 728)),
            // A side that rounds to nothing makes the area nothing, which is too small.
            ((1000, 5), (812, 28)),
            ((13, 1300), (28, 560)),
            ((10, 10), (56, 56)),
        ];
        for ((w, h), (rw, rh)) in cases {
            let grid = QWEN.grid(ImageSize { width: w, height: h }).unwrap();
            assert_eq!(grid.resized, ImageSize { width: rw, height: rh }, "{w}x{h}");
            assert_eq!(grid.tokens, (rw / 28 * (rh / 28)) as usize);
        }
    }

    #[test]
    fn hopeless_images_are_refused() {
        assert!(matches!(
            QWEN.grid(ImageSize { width: 4020, height: 20 }),
            Err(GeometryError::AspectRatio { .. })
        ));
        assert!(matches!(QWEN.grid(ImageSize { width: 0, height: 20 }), Err(GeometryError::Empty { .. })));
    }
}
