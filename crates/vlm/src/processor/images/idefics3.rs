//! SmolVLM2 and Idefics3: an image is cut into tiles, and a small picture of the whole follows them (arXiv 2408.12637,
//! section 2.1.2).
//!
//! Resizing is chained on 8-bit pixels, by Lanczos: the longest side to `size.longest_edge`, then each side up to a multiple
//! of a tile, which distorts. The picture of the whole is made of that second image.

use image::RgbImage;
use reft_core::{GeometryError, ImageSize};
use serde::Deserialize;
use serde_json::Value;
use tch::{TchError, Tensor};

use super::{
    lanczos,
    levels::{Levels, Order, StoredLevels},
    scheme::{ImageViews, PatchShape, Scheme, tile_problem, tiles, to_tensor},
};
use crate::model::{Family, VisionConfig};

/// Sides are never resized beyond this.
const MOST: u32 = 4096;

/// Pillow's number of the filter.
const LANCZOS: u8 = 1;

const FAKE_TOKEN: &str = "<fake_token_around_image>";
const GLOBAL_TOKEN: &str = "<global-img>";

#[derive(Clone, Copy, Deserialize)]
struct LongestEdge {
    longest_edge: u32,
}

/// As the settings stand in the file. Defaults are those of `SmolVLMImageProcessor`.
#[derive(Deserialize)]
#[serde(default)]
struct Stored {
    size: LongestEdge,
    max_image_size: LongestEdge,
    do_resize: bool,
    do_image_splitting: bool,
    resample: u8,
    #[serde(flatten)]
    levels: StoredLevels,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            size: LongestEdge { longest_edge: 4 * 364 },
            max_image_size: LongestEdge { longest_edge: 364 },
            do_resize: true,
            do_image_splitting: true,
            resample: LANCZOS,
            levels: StoredLevels::default(),
        }
    }
}

/// The settings in use.
#[derive(Debug)]
pub(super) struct SplitImages {
    longest_edge: u32,
    tile: u32,
    splits: bool,
    levels: Levels,
    shape: PatchShape,
}

impl SplitImages {
    /// Reads the settings, for a tower of these patches. `max_pixels` bounds the square that an image is fitted into.
    pub(super) fn read(
        json: Value,
        vision: &VisionConfig,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, String> {
        let stored = Stored::deserialize(json).map_err(|e| e.to_string())?;
        let tile = stored.max_image_size.longest_edge;
        let mut longest_edge = stored.size.longest_edge;
        if tile == 0 || longest_edge == 0 {
            return Err("size.longest_edge and max_image_size.longest_edge must be positive".into());
        }
        if !stored.do_resize {
            return Err("do_resize = false is not supported: every side must be a multiple of a tile".into());
        }
        if stored.resample != LANCZOS {
            return Err(format!("resample = {} is not supported (1 is Lanczos)", stored.resample));
        }
        if min_pixels.is_some() {
            return Err("min_pixels means nothing to this family, whose images are all resized to \
                        size.longest_edge; leave it out"
                .into());
        }
        if let Some(max_pixels) = max_pixels {
            let most = max_pixels.isqrt().min(u64::from(MOST)) as u32;
            if most < tile {
                return Err(format!("max_pixels {max_pixels} is less than one tile of {tile}x{tile}"));
            }
            longest_edge = longest_edge.min(most / tile * tile);
        }
        let shape = PatchShape::of(vision)?;
        if let Some(problem) = tile_problem(tile, shape) {
            return Err(problem);
        }
        Ok(Self {
            longest_edge,
            tile,
            splits: stored.do_image_splitting,
            levels: stored.levels.levels([[0.5; 3]; 2], Order::Stepwise)?,
            shape,
        })
    }

    /// The size of the first resizing: the longest side as the settings say, the other even.
    fn fitted(&self, ImageSize { width, height }: ImageSize) -> ImageSize {
        let ratio = f64::from(width) / f64::from(height);
        // Casts cut towards 0, as the reference's `int` does.
        let even = |side: f64| (side as u32).next_multiple_of(2).max(1);
        let long = self.longest_edge;
        let (width, height) = if width >= height {
            (long, even(f64::from(long) / ratio))
        } else {
            (even(f64::from(long) * ratio), long)
        };
        let ratio = f64::from(width) / f64::from(height);
        if width >= height && width > MOST {
            ImageSize { width: MOST, height: ((f64::from(MOST) / ratio) as u32).max(1) }
        } else if height > width && height > MOST {
            ImageSize { width: ((f64::from(MOST) * ratio) as u32).max(1), height: MOST }
        } else {
            ImageSize { width, height }
        }
    }

    /// The size of the second resizing: multiples of a tile.
    fn tiled(&self, ImageSize { width, height }: ImageSize) -> ImageSize {
        let ratio = f64::from(width) / f64::from(height);
        let up = |side: u32| side.div_ceil(self.tile) * self.tile;
        if width >= height {
            let width = up(width);
            ImageSize { width, height: up((f64::from(width) / ratio) as u32) }
        } else {
            let height = up(height);
            ImageSize { width: up((f64::from(height) * ratio) as u32), height }
        }
    }

    fn square(&self) -> ImageSize {
        ImageSize { width: self.tile, height: self.tile }
    }

    /// Rows and columns of tiles; none where the picture of the whole is all.
    fn rows_and_columns(&self, size: ImageSize) -> Option<[u32; 2]> {
        let ImageSize { width, height } = self.tiled(self.fitted(size));
        let is_split = self.splits && (width > self.tile || height > self.tile);
        is_split.then(|| [height / self.tile, width / self.tile])
    }
}

impl Scheme for SplitImages {
    fn views(&self, size: ImageSize) -> Result<ImageViews, GeometryError> {
        if size.width == 0 || size.height == 0 {
            return Err(GeometryError::Empty { width: size.width, height: size.height });
        }
        let image_token = Family::SmolVlm.image_token();
        let whole = format!("{FAKE_TOKEN}{GLOBAL_TOKEN}{image_token}{FAKE_TOKEN}");
        let grid = self.shape.grid(self.square());
        let Some([rows, columns]) = self.rows_and_columns(size) else {
            return Ok(ImageViews { grids: vec![grid], text: whole });
        };
        let tile = |row, column| format!("{FAKE_TOKEN}<row_{row}_col_{column}>{image_token}");
        let line = |row| (1..=columns).map(|column| tile(row, column)).collect::<String>() + "\n";
        let text = (1..=rows).map(line).collect::<String>() + "\n" + &whole;
        Ok(ImageViews { grids: vec![grid; (rows * columns + 1) as usize], text })
    }

    fn pixels(&self, rgb: &RgbImage, views: &ImageViews) -> Result<Tensor, TchError> {
        let size = ImageSize { width: rgb.width(), height: rgb.height() };
        let fitted_size = self.fitted(size);
        let fitted = lanczos::resize(rgb, fitted_size);
        if !self.splits {
            return to_tensor(&lanczos::resize(&fitted, self.square()))?.f_unsqueeze(0);
        }
        let tiled = lanczos::resize(&fitted, self.tiled(fitted_size));
        if views.grids.len() == 1 {
            return to_tensor(&tiled)?.f_unsqueeze(0);
        }
        let whole = to_tensor(&lanczos::resize(&tiled, self.square()))?.f_unsqueeze(0)?;
        Tensor::f_cat(&[tiles(&to_tensor(&tiled)?, self.tile)?, whole], 0)
    }

    fn patch_shape(&self) -> PatchShape {
        self.shape
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    fn tokens_per_view(&self) -> Option<usize> {
        Some(self.shape.grid(self.square()).tokens)
    }

    fn control_tokens(&self) -> &'static [&'static str] {
        &[FAKE_TOKEN, GLOBAL_TOKEN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(longest_edge: u32, tile: u32) -> SplitImages {
        let shape = PatchShape { patch_size: 16, merge_size: 4, frames: 1 };
        let levels = StoredLevels::default().levels([[0.5; 3]; 2], Order::Stepwise).unwrap();
        SplitImages { longest_edge, tile, splits: true, levels, shape }
    }

    #[test]
    fn tiles_are_counted_as_in_the_reference() {
        // From `get_number_of_image_patches` and `resize_for_vision_encoder` of transformers 5.23.
        let cases = [
            ((90, 90), 256, 64, Some([4, 4])),
            ((640, 480), 2048, 512, Some([3, 4])),
            ((512, 512), 2048, 512, Some([4, 4])),
            ((1000, 100), 2048, 512, Some([1, 4])),
            ((100, 1000), 2048, 512, Some([4, 1])),
            ((640, 480), 512, 512, None),
        ];
        for ((width, height), longest_edge, tile, expected) in cases {
            let found = split(longest_edge, tile).rows_and_columns(ImageSize { width, height });
            assert_eq!(found, expected, "{width}x{height}");
        }
    }
}
