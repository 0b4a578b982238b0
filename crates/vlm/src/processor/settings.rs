//! The image settings of a checkpoint: `preprocessor_config.json`, or `image_processor` in `processor_config.json`.

use std::path::Path;

use reft_core::PixelBudget;
use serde::Deserialize;
use serde_json::Value;

use super::ProcessorError;

/// Resampling filters, by Pillow's numbers.
const BILINEAR: u8 = 2;
const BICUBIC: u8 = 3;

/// How images become patches. Defaults are those of `Qwen2VLImageProcessor`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct ImageSettings {
    /// Side of a patch in pixels.
    pub patch_size: u32,
    /// Frames in a patch; a still image is repeated.
    pub temporal_patch_size: u32,
    /// Patches merged into one token along each side.
    pub merge_size: u32,
    /// Older name of `size.shortest_edge`; wins over it.
    min_pixels: Option<u64>,
    /// Older name of `size.longest_edge`; wins over it.
    max_pixels: Option<u64>,
    size: Size,
    /// Whether sizes are adapted; every supported model needs it.
    do_resize: bool,
    resample: u8,
    /// Whether levels are multiplied by `rescale_factor`.
    pub do_rescale: bool,
    /// 1 / 255.
    pub rescale_factor: f64,
    /// Whether mean and standard deviation are applied.
    pub do_normalize: bool,
    /// Mean per channel, in rescaled levels.
    pub image_mean: [f64; 3],
    /// Standard deviation per channel, in rescaled levels.
    pub image_std: [f64; 3],
}

/// Areas in pixels, under names that say edges. A `size` that is there has no defaults.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Size {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

impl Default for Size {
    fn default() -> Self {
        Self { shortest_edge: Some(56 * 56), longest_edge: Some(28 * 28 * 1280) }
    }
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            min_pixels: None,
            max_pixels: None,
            size: Size::default(),
            do_resize: true,
            resample: BICUBIC,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
        }
    }
}

impl ImageSettings {
    /// Reads the settings of a checkpoint folder.
    pub fn open(dir: &Path) -> Result<Self, ProcessorError> {
        let nested = dir.join("processor_config.json");
        let flat = dir.join("preprocessor_config.json");
        let (path, json) = match read_json(&nested)?.and_then(|json| json.get("image_processor").cloned()) {
            Some(json) => (nested, json),
            None => match read_json(&flat)? {
                Some(json) => (flat, json),
                None => {
                    return Err(ProcessorError::file(flat, "is missing, and so is `processor_config.json`"));
                }
            },
        };
        let settings: Self = serde_json::from_value(json).map_err(|e| ProcessorError::file(&path, e))?;
        let problems = settings.problems();
        if problems.is_empty() { Ok(settings) } else { Err(ProcessorError::file(path, problems.join("; "))) }
    }

    /// The part that decides sizes.
    pub fn budget(&self) -> PixelBudget {
        PixelBudget {
            patch_size: self.patch_size,
            merge_size: self.merge_size,
            min_pixels: self.min_pixels.or(self.size.shortest_edge).unwrap_or_default(),
            max_pixels: self.max_pixels.or(self.size.longest_edge).unwrap_or_default(),
        }
    }

    /// Replaces the smallest and largest area; none leaves the checkpoint's.
    pub(crate) fn set_area(&mut self, min_pixels: Option<u64>, max_pixels: Option<u64>) {
        let budget = self.budget();
        self.min_pixels = Some(min_pixels.unwrap_or(budget.min_pixels));
        self.max_pixels = Some(max_pixels.unwrap_or(budget.max_pixels));
    }

    /// Whether images are resized with the bicubic filter, else with the bilinear one.
    pub(crate) fn is_bicubic(&self) -> bool {
        self.resample == BICUBIC
    }

    /// Numbers of one flattened patch.
    pub(crate) fn patch_dim(&self) -> usize {
        3 * (self.temporal_patch_size * self.patch_size * self.patch_size) as usize
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, message: String| {
            if !ok {
                problems.push(message);
            }
        };
        let budget = self.budget();
        check(
            self.do_resize,
            "do_resize = false is not supported: every size must fit the patch grid".into(),
        );
        check([BILINEAR, BICUBIC].contains(&self.resample), {
            format!("resample = {} is not supported (2 is bilinear, 3 is bicubic)", self.resample)
        });
        check(self.patch_size > 0 && self.merge_size > 0 && self.temporal_patch_size > 0, {
            "patch_size, merge_size and temporal_patch_size must be positive".into()
        });
        for (older, newer, name) in [
            (self.min_pixels, self.size.shortest_edge, "shortest_edge"),
            (self.max_pixels, self.size.longest_edge, "longest_edge"),
        ] {
            check(older.or(newer).is_some(), format!("size has no `{name}`"));
        }
        check(budget.min_pixels <= budget.max_pixels, {
            format!("min_pixels {} is above max_pixels {}", budget.min_pixels, budget.max_pixels)
        });
        check(self.image_std.iter().all(|&std| std > 0.0), "image_std must be positive".into());
        problems
    }
}

/// A JSON file; none when it is not there.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>, ProcessorError> {
    let text = match reft_core::read_text(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ProcessorError::file(path, e)),
    };
    serde_json::from_str(&text).map(Some).map_err(|e| ProcessorError::file(path, e))
}
