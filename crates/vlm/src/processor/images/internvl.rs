//! InternVL: the grid of tiles whose shape is nearest to the image's, and a thumbnail of the whole behind them
//! (arXiv 2404.16821, section 3.3).

use image::RgbImage;
use reft_core::{GeometryError, ImageSize};
use serde::Deserialize;
use serde_json::Value;
use tch::{TchError, Tensor};

use super::{
    levels::{Levels, Order, StoredLevels},
    scheme::{Filter, ImageViews, PatchShape, Scheme, tile_problem, tiles, to_tensor},
};
use crate::model::{Family, VisionConfig};

const IMAGENET: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// As the settings stand in the file. Defaults are those of `GotOcr2ImageProcessor` within InternVL's processor, which cuts
/// into tiles whatever `crop_to_patches` of the file says.
#[derive(Deserialize)]
#[serde(default)]
struct Stored {
    size: Size,
    min_patches: u32,
    max_patches: u32,
    do_resize: bool,
    resample: u8,
    #[serde(flatten)]
    levels: StoredLevels,
}

#[derive(Deserialize)]
struct Size {
    height: u32,
    width: u32,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            size: Size { height: 448, width: 448 },
            min_patches: 1,
            max_patches: 12,
            do_resize: true,
            resample: 3,
            levels: StoredLevels::default(),
        }
    }
}

/// The settings in use.
#[derive(Debug)]
pub(super) struct TiledImages {
    tile: u32,
    min_tiles: u32,
    max_tiles: u32,
    filter: Filter,
    levels: Levels,
    shape: PatchShape,
}

impl TiledImages {
    /// Reads the settings, for a tower of these patches. `max_pixels` bounds the area of the tiles together.
    pub(super) fn read(
        json: Value,
        vision: &VisionConfig,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, String> {
        let stored = Stored::deserialize(json).map_err(|e| e.to_string())?;
        let Size { height, width } = stored.size;
        if height != width || height == 0 {
            return Err(format!("size {width}x{height} is not square"));
        }
        if !stored.do_resize {
            return Err("do_resize = false is not supported: an image must be as large as its tiles".into());
        }
        let area = u64::from(width) * u64::from(height);
        let tiles_in = |pixels: u64| u32::try_from(pixels / area).unwrap_or(u32::MAX);
        let min_tiles = min_pixels.map_or(stored.min_patches, tiles_in).max(1);
        let max_tiles = max_pixels.map_or(stored.max_patches, |most| stored.max_patches.min(tiles_in(most)));
        if max_tiles < min_tiles {
            return Err(format!(
                "at most {max_tiles} tiles of {width}x{height} are fewer than at least {min_tiles}; raise max_pixels"
            ));
        }
        let shape = PatchShape::of(vision)?;
        if let Some(problem) = tile_problem(width, shape) {
            return Err(problem);
        }
        Ok(Self {
            tile: width,
            min_tiles,
            max_tiles,
            filter: Filter::from_number(stored.resample)?,
            levels: stored.levels.levels(IMAGENET, Order::Fused)?,
            shape,
        })
    }

    /// Columns and rows of the grid whose ratio is nearest; of equally near ones the larger, unless the image is smaller
    /// than half of it.
    fn columns_and_rows(&self, ImageSize { width, height }: ImageSize) -> [u32; 2] {
        let ratio = f64::from(width) / f64::from(height);
        let area = f64::from(width) * f64::from(height);
        let sides = 1..=self.max_tiles;
        let mut grids: Vec<[u32; 2]> = sides
            .clone()
            .flat_map(|columns| sides.clone().map(move |rows| [columns, rows]))
            .filter(|[columns, rows]| (self.min_tiles..=self.max_tiles).contains(&(columns * rows)))
            .collect();
        grids.sort_by_key(|[columns, rows]| columns * rows);
        let (mut nearest, mut best) = (f64::INFINITY, [1, 1]);
        for grid in grids {
            let [columns, rows] = grid.map(f64::from);
            let away = (ratio - columns / rows).abs();
            let tile = f64::from(self.tile);
            if away < nearest || (away == nearest && area > 0.5 * tile * tile * columns * rows) {
                (nearest, best) = (away, grid);
            }
        }
        best
    }

    fn square(&self) -> ImageSize {
        ImageSize { width: self.tile, height: self.tile }
    }
}

impl Scheme for TiledImages {
    fn views(&self, size: ImageSize) -> Result<ImageViews, GeometryError> {
        if size.width == 0 || size.height == 0 {
            return Err(GeometryError::Empty { width: size.width, height: size.height });
        }
        let [columns, rows] = self.columns_and_rows(size);
        let n_tiles = (columns * rows) as usize;
        let n = if n_tiles > 1 { n_tiles + 1 } else { 1 };
        let image_tokens = Family::InternVl.image_token().repeat(n);
        Ok(ImageViews {
            grids: vec![self.shape.grid(self.square()); n],
            text: format!("<img>{image_tokens}</img>"),
        })
    }

    fn pixels(&self, rgb: &RgbImage, _views: &ImageViews) -> Result<Tensor, TchError> {
        let pixels_chw = to_tensor(rgb)?;
        let [columns, rows] = self.columns_and_rows(ImageSize { width: rgb.width(), height: rgb.height() });
        let canvas = ImageSize { width: columns * self.tile, height: rows * self.tile };
        let tiles = tiles(&self.filter.resize(&pixels_chw, canvas)?, self.tile)?;
        if columns * rows == 1 {
            return Ok(tiles);
        }
        let thumbnail = self.filter.resize(&pixels_chw, self.square())?.f_unsqueeze(0)?;
        Tensor::f_cat(&[tiles, thumbnail], 0)
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
        &["<img>", "</img>"]
    }

    fn mismatch(&self, vision: &VisionConfig) -> Option<String> {
        let side = vision.view_side()?;
        (side != i64::from(self.tile)).then(|| {
            format!(
                "the image processor makes tiles of {} px, the vision tower has positions for {side}",
                self.tile
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_chosen_as_in_the_reference() {
        let tiled = TiledImages {
            tile: 448,
            min_tiles: 1,
            max_tiles: 12,
            filter: Filter::Bicubic,
            levels: StoredLevels::default().levels(IMAGENET, Order::Fused).unwrap(),
            shape: PatchShape { patch_size: 14, merge_size: 2, frames: 1 },
        };
        // (width, height) to (columns, rows), from `get_optimal_tiled_canvas` of transformers 5.23.
        let cases = [
            ((448, 448), [1, 1]),
            ((1000, 1000), [3, 3]),
            ((2000, 2000), [3, 3]),
            ((640, 480), [4, 3]),
            ((800, 400), [2, 1]),
            ((1600, 800), [4, 2]),
            ((100, 1200), [1, 12]),
            ((333, 777), [2, 5]),
        ];
        for ((width, height), expected) in cases {
            assert_eq!(tiled.columns_and_rows(ImageSize { width, height }), expected, "{width}x{height}");
        }
    }
}
