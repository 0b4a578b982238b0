//! Qwen-VL: an image is resized once, to sides that are multiples of a merged patch and an area within bounds.

use image::RgbImage;
use reft_core::{GeometryError, ImageSize, PixelBudget};
use serde::Deserialize;
use serde_json::Value;
use tch::{TchError, Tensor};

use super::{
    levels::{Levels, Order, StoredLevels},
    scheme::{Filter, ImageViews, PatchShape, Scheme, to_tensor},
};
use crate::model::Family;

const MEAN_AND_STD: [[f64; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]];

/// As the settings stand in the file. Defaults are those of `Qwen2VLImageProcessor`.
#[derive(Deserialize)]
#[serde(default)]
struct Stored {
    patch_size: u32,
    temporal_patch_size: u32,
    merge_size: u32,
    /// Older name of `size.shortest_edge`; wins over it.
    min_pixels: Option<u64>,
    /// Older name of `size.longest_edge`; wins over it.
    max_pixels: Option<u64>,
    size: Size,
    /// Whether sizes are adapted; the model needs it.
    do_resize: bool,
    resample: u8,
    #[serde(flatten)]
    levels: StoredLevels,
}

/// Areas in pixels, under names that say edges. A `size` that is there has no defaults.
#[derive(Deserialize)]
struct Size {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            min_pixels: None,
            max_pixels: None,
            size: Size { shortest_edge: Some(56 * 56), longest_edge: Some(28 * 28 * 1280) },
            do_resize: true,
            resample: 3,
            levels: StoredLevels::default(),
        }
    }
}

/// The settings in use.
#[derive(Debug)]
pub(super) struct ResizedToArea {
    budget: PixelBudget,
    frames: u32,
    filter: Filter,
    levels: Levels,
}

impl ResizedToArea {
    /// Reads the settings; areas replace the file's when given.
    pub(super) fn read(
        json: Value,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, String> {
        let stored = Stored::deserialize(json).map_err(|e| e.to_string())?;
        let mut problems = Vec::new();
        if !stored.do_resize {
            problems
                .push("do_resize = false is not supported: every size must fit the patch grid".to_owned());
        }
        if stored.patch_size == 0 || stored.merge_size == 0 || stored.temporal_patch_size == 0 {
            problems.push("patch_size, merge_size and temporal_patch_size must be positive".into());
        }
        let stored_area = |older: Option<u64>, newer: Option<u64>, name: &str| {
            older.or(newer).ok_or_else(|| format!("size has no `{name}`"))
        };
        let smallest = stored_area(stored.min_pixels, stored.size.shortest_edge, "shortest_edge");
        let largest = stored_area(stored.max_pixels, stored.size.longest_edge, "longest_edge");
        if let (Ok(smallest), Ok(largest)) = (&smallest, &largest)
            && smallest > largest
        {
            problems.push(format!("min_pixels {smallest} is above max_pixels {largest}"));
        }
        let filter = Filter::from_number(stored.resample);
        let levels = stored.levels.levels(MEAN_AND_STD, Order::Fused);
        match (smallest, largest, filter, levels) {
            (Ok(smallest), Ok(largest), Ok(filter), Ok(levels)) if problems.is_empty() => Ok(Self {
                budget: PixelBudget {
                    patch_size: stored.patch_size,
                    merge_size: stored.merge_size,
                    min_pixels: min_pixels.unwrap_or(smallest),
                    max_pixels: max_pixels.unwrap_or(largest),
                },
                frames: stored.temporal_patch_size,
                filter,
                levels,
            }),
            (smallest, largest, filter, levels) => {
                problems.extend(smallest.err().into_iter().chain(largest.err()));
                problems.extend(filter.err().into_iter().chain(levels.err()));
                Err(problems.join("; "))
            }
        }
    }
}

impl Scheme for ResizedToArea {
    fn views(&self, size: ImageSize) -> Result<ImageViews, GeometryError> {
        let grid = self.budget.grid(size)?;
        Ok(ImageViews { grids: vec![grid], text: Family::Qwen2Vl.image_token().into() })
    }

    fn pixels(&self, rgb: &RgbImage, views: &ImageViews) -> Result<Tensor, TchError> {
        let resized = views.grids[0].resized;
        self.filter.resize(&to_tensor(rgb)?, resized)?.f_unsqueeze(0)
    }

    fn patch_shape(&self) -> PatchShape {
        PatchShape {
            patch_size: self.budget.patch_size,
            merge_size: self.budget.merge_size,
            frames: self.frames,
        }
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    fn budget(&self) -> Option<PixelBudget> {
        Some(self.budget)
    }
}
