//! What a family makes of an image.

use std::fmt;

use image::RgbImage;
use reft_core::{GeometryError, ImageGrid, ImageSize, PixelBudget};
use tch::{Kind, TchError, Tensor};

use super::levels::Levels;
use crate::model::VisionConfig;

/// The views of an image, and how they stand in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageViews {
    /// The patch grid of each view, in the order of the prompt; all views have one size.
    pub grids: Vec<ImageGrid>,
    /// What replaces the template's placeholder: the image token once a view, and what stands around and between.
    pub text: String,
}

impl ImageViews {
    /// Tokens that stand for features of the image.
    pub fn tokens(&self) -> usize {
        self.grids.iter().map(|grid| grid.tokens).sum()
    }
}

/// The numbers that make patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PatchShape {
    /// Side of a patch in pixels.
    pub patch_size: u32,
    /// Patches merged into one token along each side.
    pub merge_size: u32,
    /// Frames in a patch; a still image is repeated.
    pub frames: u32,
}

impl PatchShape {
    /// That of a tower whose processor's settings do not say.
    pub(super) fn of(vision: &VisionConfig) -> Result<Self, String> {
        let positive = |side: i64| u32::try_from(side).ok().filter(|&side| side > 0);
        let [patch_size, merge_size, frames] =
            [vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size].map(positive);
        patch_size
            .zip(merge_size)
            .zip(frames)
            .map(|((patch_size, merge_size), frames)| Self { patch_size, merge_size, frames })
            .ok_or_else(|| "the vision tower's patches are no positive sizes".into())
    }

    /// The grid of a view; pixels beyond the last whole patch do not count.
    pub(super) fn grid(self, size: ImageSize) -> ImageGrid {
        let side = |pixels: u32| (pixels / self.patch_size.max(1)) as usize;
        let (rows, columns) = (side(size.height), side(size.width));
        let merged = (self.merge_size * self.merge_size).max(1) as usize;
        ImageGrid { resized: size, rows, columns, tokens: rows * columns / merged }
    }
}

/// How a family resizes an image, cuts it into views and writes them into the prompt.
pub(super) trait Scheme: fmt::Debug + Send + Sync {
    /// The views of an image of this size.
    fn views(&self, size: ImageSize) -> Result<ImageViews, GeometryError>;

    /// 8-bit pixels `[v, 3, h, w]` of the views of an upright image.
    fn pixels(&self, rgb: &RgbImage, views: &ImageViews) -> Result<Tensor, TchError>;

    /// How views are cut into patches.
    fn patch_shape(&self) -> PatchShape;

    /// How levels become numbers.
    fn levels(&self) -> &Levels;

    /// Sizes, where images are resized as a whole and boxes may be given in that frame.
    fn budget(&self) -> Option<PixelBudget> {
        None
    }

    /// Control tokens that [`ImageViews::text`] is made of beside the image token.
    fn control_tokens(&self) -> &'static [&'static str] {
        &[]
    }

    /// Tokens of a view, where all images have views of one size.
    fn tokens_per_view(&self) -> Option<usize> {
        None
    }

    /// Why these views do not fit a tower.
    fn mismatch(&self, vision: &VisionConfig) -> Option<String> {
        let shape = self.patch_shape();
        let made = [shape.patch_size, shape.merge_size].map(i64::from);
        let wanted = [vision.patch_size, vision.spatial_merge_size];
        if made != wanted {
            return Some(format!(
                "the image processor makes patches of {} px merged by {}, the vision tower wants {} px merged by {}",
                made[0], made[1], wanted[0], wanted[1]
            ));
        }
        let numbers = 3 * i64::from(shape.frames) * made[0] * made[0];
        (numbers != vision.patch_dim()).then(|| {
            format!(
                "the image processor makes patches of {numbers} numbers, the vision tower wants {}; compare \
                 temporal_patch_size and in_channels",
                vision.patch_dim()
            )
        })
    }
}

/// What is wrong with tiles of this side; none where their patches merge without rest.
pub(super) fn tile_problem(tile: u32, shape: PatchShape) -> Option<String> {
    let per_side = tile / shape.patch_size;
    (per_side == 0 || !per_side.is_multiple_of(shape.merge_size)).then(|| {
        format!(
            "tiles of {tile} px have {per_side} patches of {} a side, which do not merge by {}",
            shape.patch_size, shape.merge_size
        )
    })
}

/// Upright 8-bit pixels as `[3, h, w]`.
pub(super) fn to_tensor(rgb: &RgbImage) -> Result<Tensor, TchError> {
    let (width, height) = (i64::from(rgb.width()), i64::from(rgb.height()));
    Tensor::f_from_data_size(rgb.as_raw(), &[height, width, 3], Kind::Uint8)?.f_permute([2, 0, 1])
}

/// A resampling filter of libtorch's own antialiased kernels on 8-bit pixels. They are what torchvision calls, so there is
/// no second implementation to keep equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Pillow's number 2.
    Bilinear,
    /// Pillow's number 3.
    Bicubic,
}

impl Filter {
    /// By Pillow's number.
    pub(super) fn from_number(number: u8) -> Result<Self, String> {
        match number {
            2 => Ok(Self::Bilinear),
            3 => Ok(Self::Bicubic),
            other => Err(format!("resample = {other} is not supported (2 is bilinear, 3 is bicubic)")),
        }
    }

    /// Pixels `[3, h, w]` in another size.
    pub(super) fn resize(self, pixels_chw: &Tensor, size: ImageSize) -> Result<Tensor, TchError> {
        let size = [i64::from(size.height), i64::from(size.width)];
        if pixels_chw.size()[1..] == size {
            return Ok(pixels_chw.shallow_clone());
        }
        let batch = pixels_chw.f_contiguous()?.f_unsqueeze(0)?;
        let resized = match self {
            Self::Bicubic => batch.f_internal_upsample_bicubic2d_aa(size, false, None, None)?,
            Self::Bilinear => batch.f_internal_upsample_bilinear2d_aa(size, false, None, None)?,
        };
        resized.f_squeeze_dim(0)
    }
}

/// Pixels `[3, rows * side, columns * side]` cut into squares `[rows * columns, 3, side, side]`, row by row.
pub(super) fn tiles(pixels_chw: &Tensor, side: u32) -> Result<Tensor, TchError> {
    let (size, side) = (pixels_chw.size(), i64::from(side));
    let (rows, columns) = (size[1] / side, size[2] / side);
    pixels_chw.f_reshape([3, rows, side, columns, side])?.f_permute([1, 3, 0, 2, 4])?.f_reshape([
        rows * columns,
        3,
        side,
        side,
    ])
}
