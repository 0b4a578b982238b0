//! Scenes of one coloured shape: where a new model learns words of colours and shapes.
//!
//! Pictures are drawn here, with colours, sizes, turns and backgrounds of their own; no picture of another data set is
//! used. Questions are worded as in easy-VQA, so that its test set can be asked of a model that has never seen its
//! pictures; half of its wordings are not among them.

use std::{f64::consts::TAU, fmt};

use image::{Rgb, RgbImage};
use rand::{Rng, seq::IndexedRandom as _};

/// A shape's outline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    /// A disc.
    Circle,
    /// Sides of ratio 1 to 2, turned a little.
    Rectangle,
    /// Equal sides, any way up.
    Triangle,
}

/// The colours, each with its 8-bit red, green and blue.
const COLORS: [(&str, [u8; 3]); 8] = [
    ("black", [0, 0, 0]),
    ("gray", [128, 128, 128]),
    ("red", [255, 0, 0]),
    ("green", [0, 255, 0]),
    ("blue", [0, 0, 255]),
    ("yellow", [255, 255, 0]),
    ("teal", [0, 128, 128]),
    ("brown", [165, 42, 42]),
];

/// Largest deviation of a channel from its colour's.
const SHADE: i16 = 36;

/// A shape and what is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeQuestion {
    outline: Outline,
    color: usize,
    asked: Asked,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Its colour; whether it is called by its outline, and the wording.
    Color { by_outline: bool, wording: usize },
    /// Its outline; whether it is called by its colour, and the wording.
    Outline { by_color: bool, wording: usize },
    /// Whether there is one of a colour, or there is not.
    HasColor { color: usize, negated: bool, wording: usize },
    /// Whether there is one of an outline, or there is not.
    HasOutline { outline: Outline, negated: bool, wording: usize },
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Circle => "circle",
            Self::Rectangle => "rectangle",
            Self::Triangle => "triangle",
        })
    }
}

impl Outline {
    const ALL: [Self; 3] = [Self::Circle, Self::Rectangle, Self::Triangle];

    fn any(rng: &mut impl Rng) -> Self {
        *Self::ALL.choose(rng).unwrap_or(&Self::Circle)
    }
}

impl ShapeQuestion {
    /// Draws a shape and what is asked. `yes` and `no` are equally likely.
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let (outline, color) = (Outline::any(rng), rng.random_range(0..COLORS.len()));
        let wording = rng.random_range(0..2);
        let there = rng.random();
        let asked = match rng.random_range(0..6) {
            0 => Asked::Color { by_outline: rng.random(), wording },
            1 => Asked::Outline { by_color: rng.random(), wording },
            2..4 => {
                let other = (color + rng.random_range(1..COLORS.len())) % COLORS.len();
                Asked::HasColor { color: if there { color } else { other }, negated: rng.random(), wording }
            }
            _ => {
                let other = Outline::ALL[(outline as usize + rng.random_range(1..3)) % 3];
                Asked::HasOutline {
                    outline: if there { outline } else { other },
                    negated: rng.random(),
                    wording,
                }
            }
        };
        Self { outline, color, asked }
    }

    /// The wording.
    pub(super) fn text(&self) -> String {
        let is_there = |negated: bool, what: &str, wording: usize| {
            let not = if negated { "not " } else { "" };
            let tail = [" in the image", ""][wording];
            format!("is there {not}a {what}{tail}?")
        };
        match self.asked {
            Asked::Color { by_outline, wording } => {
                let what = if by_outline { self.outline.to_string() } else { "shape".into() };
                ["what color is the", "what is the color of the"][wording].to_owned() + " " + &what + "?"
            }
            Asked::Outline { by_color: true, .. } => format!("what is the {} shape?", self.color()),
            Asked::Outline { wording, .. } => {
                ["what shape is in the image?", "what shape is present?"][wording].to_owned()
            }
            Asked::HasColor { color, negated, wording } => {
                is_there(negated, &format!("{} shape", COLORS[color].0), wording)
            }
            Asked::HasOutline { outline, negated, wording } => {
                is_there(negated, &outline.to_string(), wording)
            }
        }
    }

    /// The right answer: a colour, an outline, `yes` or `no`.
    pub(super) fn answer(&self) -> String {
        let verdict = |is_right: bool| if is_right { "yes" } else { "no" }.to_owned();
        match self.asked {
            Asked::Color { .. } => self.color().to_owned(),
            Asked::Outline { .. } => self.outline.to_string(),
            Asked::HasColor { color, negated, .. } => verdict((color == self.color) != negated),
            Asked::HasOutline { outline, negated, .. } => verdict((outline == self.outline) != negated),
        }
    }

    /// What is to be seen: `red circle`.
    pub(super) fn reading(&self) -> String {
        format!("{} {}", self.color(), self.outline)
    }

    fn color(&self) -> &'static str {
        COLORS[self.color].0
    }

    /// Paints it anywhere on a square canvas.
    pub(super) fn paint(&self, side: u32, rng: &mut impl Rng) -> RgbImage {
        let ink = shade(COLORS[self.color].1, rng);
        let paper = loop {
            let level = if rng.random_bool(0.8) { 225..=255 } else { 0..=255 };
            let paper: [u8; 3] = [(); 3].map(|()| rng.random_range(level.clone()));
            // Far enough from the ink to be seen.
            if ink.iter().zip(paper).map(|(&a, b)| a.abs_diff(b)).max() > Some(80) {
                break paper;
            }
        };
        let full = f64::from(side);
        let radius = rng.random_range(0.07..0.24) * full;
        let [x, y] = [(); 2].map(|()| rng.random_range(radius..full - radius));
        let corners = match self.outline {
            Outline::Circle => Vec::new(),
            Outline::Rectangle => {
                let (half, turn) = (rng.random_range(0.46..1.1), rng.random_range(-0.2..0.2));
                [half, TAU / 2.0 - half, TAU / 2.0 + half, -half].map(|angle| angle + turn).to_vec()
            }
            Outline::Triangle => {
                // Mostly on its base, as triangles are drawn.
                let up = if rng.random_bool(0.6) { -TAU / 4.0 } else { rng.random_range(0.0..TAU) };
                [0.0, 1.0, 2.0].map(|i| up + i * TAU / 3.0).to_vec()
            }
        };
        let corners: Vec<[f64; 2]> =
            corners.iter().map(|angle| [x + radius * angle.cos(), y + radius * angle.sin()]).collect();
        RgbImage::from_fn(side, side, |column, row| {
            let inside = COVERAGE
                .iter()
                .filter(|[dx, dy]| {
                    let point = [f64::from(column) + dx, f64::from(row) + dy];
                    if corners.is_empty() {
                        (point[0] - x).hypot(point[1] - y) <= radius
                    } else {
                        is_inside(&corners, point)
                    }
                })
                .count() as u16;
            let mixed = |i: usize| (u16::from(ink[i]) * inside + u16::from(paper[i]) * (4 - inside)) / 4;
            Rgb([0, 1, 2].map(|i| mixed(i) as u8))
        })
    }
}

/// Points of a pixel of which those inside the shape are counted.
const COVERAGE: [[f64; 2]; 4] = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]];

/// A colour a little off.
fn shade(color: [u8; 3], rng: &mut impl Rng) -> [u8; 3] {
    color.map(|channel| (i16::from(channel) + rng.random_range(-SHADE..=SHADE)).clamp(0, 255) as u8)
}

/// Whether a point lies in a convex polygon: on the same side of all its edges.
fn is_inside(corners: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    let edges = corners.iter().zip(corners.iter().cycle().skip(1));
    let mut sides = edges.map(|(a, b)| (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) >= 0.0);
    let first = sides.next();
    sides.all(|side| Some(side) == first)
}

#[cfg(test)]
mod tests {
    use reft_core::Seed;

    use super::*;

    #[test]
    fn questions_by_hand() {
        let of = |asked| ShapeQuestion { outline: Outline::Circle, color: 2, asked };
        let cases = [
            (Asked::Color { by_outline: true, wording: 0 }, "what color is the circle?", "red"),
            (Asked::Color { by_outline: false, wording: 1 }, "what is the color of the shape?", "red"),
            (Asked::Outline { by_color: true, wording: 0 }, "what is the red shape?", "circle"),
            (Asked::Outline { by_color: false, wording: 0 }, "what shape is in the image?", "circle"),
            (
                Asked::HasColor { color: 4, negated: true, wording: 0 },
                "is there not a blue shape in the image?",
                "yes",
            ),
            (
                Asked::HasOutline { outline: Outline::Circle, negated: false, wording: 1 },
                "is there a circle?",
                "yes",
            ),
        ];
        for (asked, text, answer) in cases {
            assert_eq!((of(asked).text().as_str(), of(asked).answer().as_str()), (text, answer));
            assert_eq!(of(asked).reading(), "red circle");
        }
    }

    #[test]
    fn a_shape_has_its_colour_and_its_area() {
        let mut rng = Seed::new(0).rng();
        for _ in 0..60 {
            let question = ShapeQuestion::draw(&mut rng);
            let picture = question.paint(64, &mut rng);
            let is_ink = |pixel: &&Rgb<u8>| {
                let color = COLORS[question.color].1;
                pixel.0.iter().zip(color).all(|(&a, b)| i16::from(a.abs_diff(b)) <= SHADE)
            };
            let ink = picture.pixels().filter(is_ink).count();
            // The smallest triangle has a circumradius of 4.5 pixels and 26 of area, less its borders.
            assert!((8..=1_000).contains(&ink), "{question:?}: {ink} pixels");
        }
    }
}
