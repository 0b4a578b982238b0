//! Every number that decides how a scene looks.

use std::ops::RangeInclusive;

use reft_config::{SceneData, SceneDomain};

use super::layout::GRID;

/// How scenes of one domain look. Grey values are 0 to 255, lengths are pixels of the canvas.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneParams {
    /// Side of the square canvas.
    pub canvas: u32,
    /// Glyphs of a question scene.
    pub glyphs: RangeInclusive<usize>,
    /// Glyphs of a dense scene that is to be read out whole. A full grid: the n-th token of the answer is the n-th cell,
    /// which a model without any sight yet can find out; with gaps to skip it does not get off the ground.
    pub dense_glyphs: RangeInclusive<usize>,
    /// Glyphs of a scene whose labels are to be listed; all different.
    pub listed_glyphs: RangeInclusive<usize>,
    /// Share of dense scenes with one label throughout, and again of those with one label per row. 0 to 0.5.
    pub dense_alike: f64,
    /// Largest shift of a glyph from the middle of its cell along each axis. The canvas border wins.
    pub jitter: f64,
    /// Mean grey of a dark background.
    pub background: RangeInclusive<u8>,
    /// Grey of a bright glyph's full ink.
    pub ink: RangeInclusive<u8>,
    /// Largest deviation of a colour channel from the grey of background or ink.
    pub tint: u8,
    /// Largest deviation of a single pixel, the same in its three channels.
    pub noise: u8,
    /// How far a texture brightens a dark background.
    pub texture: RangeInclusive<u8>,
    /// Appearances to draw from, with their weights.
    pub looks: Vec<(Look, u32)>,
    /// Share of mathematics questions with an operation that training never asks for.
    pub unseen_operations: f64,
}

/// What a scene looks like as a whole: the side of its glyphs and its background.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Side of a glyph; every glyph draws its own.
    pub glyph_side: RangeInclusive<u32>,
    /// What is behind the glyphs.
    pub background: Background,
}

/// What is behind the glyphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Evenly dark, glyphs bright.
    Dark,
    /// Evenly bright, glyphs dark.
    Bright,
    /// Brightening along a random direction, glyphs bright.
    Gradient,
    /// Stripes in a random direction, glyphs bright.
    Stripes,
}

impl SceneParams {
    /// The scenes of training and of the in-domain test: two to four glyphs of 12 or 13 pixels on a dark background.
    pub fn in_domain() -> Self {
        Self {
            canvas: 64,
            glyphs: 2..=4,
            dense_glyphs: 16..=16,
            listed_glyphs: 5..=9,
            dense_alike: 0.3,
            jitter: 1.5,
            background: 8..=48,
            ink: 200..=255,
            tint: 10,
            noise: 4,
            texture: 50..=90,
            looks: vec![(Self::usual(Background::Dark), 1)],
            unseen_operations: 0.0,
        }
    }

    /// Scenes that differ in kind: four or five glyphs, and one of another scale, an inverted scene, a gradient or
    /// stripes; a quarter of the mathematics questions ask for an operation that training never asks for.
    pub fn out_of_domain() -> Self {
        let scaled = |glyph_side| Look { glyph_side, background: Background::Dark };
        Self {
            glyphs: 4..=5,
            looks: vec![
                (scaled(10..=11), 1),
                (scaled(14..=15), 1),
                (Self::usual(Background::Bright), 1),
                (Self::usual(Background::Gradient), 1),
                (Self::usual(Background::Stripes), 1),
            ],
            unseen_operations: 0.25,
            ..Self::in_domain()
        }
    }

    /// The parameters that a recipe asks for.
    pub fn from_config(config: &SceneData) -> Self {
        let params = match config.domain {
            SceneDomain::Id => Self::in_domain(),
            SceneDomain::Ood => Self::out_of_domain(),
        };
        Self { jitter: config.jitter, ..params }
    }

    /// Side of a cell.
    pub fn cell(&self) -> u32 {
        self.canvas / GRID
    }

    fn usual(background: Background) -> Look {
        Look { glyph_side: 12..=13, background }
    }
}
