//! Where the glyphs of a scene stand.

use std::{fmt, sync::Arc};

use rand::{Rng, seq::SliceRandom as _};
use reft_core::BoundingBox;

use super::{Look, SceneParams};

/// Cells along each side of the canvas.
pub const GRID: u32 = 4;

/// A cell of the grid. Written as one letter, which is one token: `a` to `d` are the upper row, `p` is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Rows from the top, from 0. First, so that cells order as they are read.
    pub row: u32,
    /// Columns from the left, from 0.
    pub column: u32,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = char::from(b'a' + ((self.row * GRID + self.column) % 26) as u8);
        write!(f, "{letter}")
    }
}

/// A glyph in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it shows.
    pub label: Arc<str>,
    /// The cell that it belongs to.
    pub cell: Cell,
    /// Left edge of its patch.
    pub x: u32,
    /// Upper edge of its patch.
    pub y: u32,
    /// Side of its square patch.
    pub side: u32,
}

impl Placed {
    /// The patch as a box in pixels of the canvas: `[x1, y1, x2, y2]`, right and lower edge exclusive.
    pub fn corners(&self) -> [u32; 4] {
        [self.x, self.y, self.x + self.side, self.y + self.side]
    }

    /// The patch as a box.
    pub fn bounding_box(&self) -> BoundingBox {
        let [x1, y1, x2, y2] = self.corners().map(f64::from);
        BoundingBox { x1, y1, x2, y2 }
    }
}

/// Places labels in distinct cells, in reading order: `labels[0]` stands first.
pub(super) fn place(
    params: &SceneParams,
    look: &Look,
    labels: Vec<Arc<str>>,
    rng: &mut impl Rng,
) -> Vec<Placed> {
    let mut cells: Vec<Cell> =
        (0..GRID).flat_map(|row| (0..GRID).map(move |column| Cell { row, column })).collect();
    cells.shuffle(rng);
    cells.truncate(labels.len());
    cells.sort_unstable();

    labels
        .into_iter()
        .zip(cells)
        .map(|(label, cell)| {
            let side = rng.random_range(look.glyph_side.clone());
            let mut along = |index: u32| {
                let middle = (f64::from(index) + 0.5) * f64::from(params.cell());
                let shift = rng.random_range(-params.jitter..=params.jitter);
                let start = (middle - f64::from(side) / 2.0 + shift).round().max(0.0) as u32;
                start.min(params.canvas - side)
            };
            let (x, y) = (along(cell.column), along(cell.row));
            Placed { label, cell, x, y, side }
        })
        .collect()
}
