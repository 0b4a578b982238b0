//! Boxes that know their coordinate frame.
//!
//! Published rewards compare boxes of different frames and pay noise; here a box cannot be compared before both are in
//! the same frame, and the conversion uses the actual sizes.

use serde::{Deserialize, Serialize};

use crate::ImageSize;

/// What the numbers of a box mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxFrame {
    /// Pixels of the original image.
    #[default]
    Original,
    /// Pixels of the resized image that the model saw (Qwen2.5-VL).
    ModelInput,
    /// Fractions of the sides, 0 to 1.
    Unit,
    /// Thousandths of the sides, 0 to 1000 (Qwen2-VL, Qwen3-VL).
    Thousand,
}

/// A conversion that needs a size nobody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a box in model-input pixels needs the resized image size; give the model's pixel budget")]
pub struct FrameError;

/// A box by its corners, `x1 <= x2` and `y1 <= y2`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left.
    pub x1: f64,
    /// Top.
    pub y1: f64,
    /// Right.
    pub x2: f64,
    /// Bottom.
    pub y2: f64,
}

impl BoundingBox {
    /// A box from two corners in any order; none when a number is not finite.
    pub fn new(x1: f64, y1: f64, x2: f64, y2: f64) -> Option<Self> {
        [x1, y1, x2, y2].iter().all(|v| v.is_finite()).then(|| Self {
            x1: x1.min(x2),
            y1: y1.min(y2),
            x2: x1.max(x2),
            y2: y1.max(y2),
        })
    }

    /// Area in square units of its frame; no pixel is added to the sides.
    pub fn area(&self) -> f64 {
        (self.x2 - self.x1) * (self.y2 - self.y1)
    }

    /// Intersection over union of two boxes of one frame, 0 to 1; 0 when both are empty.
    pub fn iou(&self, other: &Self) -> f64 {
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The same box in pixels of the original image.
    pub fn to_original(
        &self,
        frame: BoxFrame,
        original: ImageSize,
        model_input: Option<ImageSize>,
    ) -> Result<Self, FrameError> {
        let (w, h) = (f64::from(original.width), f64::from(original.height));
        let (sx, sy) = match frame {
            BoxFrame::Original => (1.0, 1.0),
            BoxFrame::ModelInput => {
                let resized = model_input.ok_or(FrameError)?;
                (w / f64::from(resized.width), h / f64::from(resized.height))
            }
            BoxFrame::Unit => (w, h),
            BoxFrame::Thousand => (w / 1000.0, h / 1000.0),
        };
        Ok(Self { x1: self.x1 * sx, y1: self.y1 * sy, x2: self.x2 * sx, y2: self.y2 * sy })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_box() -> impl Strategy<Value = BoundingBox> {
        (0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0)
            .prop_map(|(a, b, c, d)| BoundingBox::new(a, b, c, d).unwrap())
    }

    #[test]
    fn iou_by_hand() {
        let a = BoundingBox::new(0.0, 0.0, 2.0, 2.0).unwrap();
        let b = BoundingBox::new(1.0, 0.0, 3.0, 2.0).unwrap();
        assert_eq!(a.iou(&b), 2.0 / 6.0);
        assert_eq!(a.iou(&a), 1.0);
        let point = BoundingBox::new(1.0, 1.0, 1.0, 1.0).unwrap();
        assert_eq!(point.iou(&point), 0.0);
    }

    #[test]
    fn frames_by_hand() {
        let original = ImageSize { width: 200, height: 100 };
        let b = BoundingBox::new(0.1, 0.2, 0.5, 0.4).unwrap();
        let expected = BoundingBox::new(20.0, 20.0, 100.0, 40.0).unwrap();
        let got = b.to_original(BoxFrame::Unit, original, None).unwrap();
        assert!(got.iou(&expected) > 1.0 - 1e-12);
        let half = ImageSize { width: 100, height: 50 };
        let b = BoundingBox::new(10.0, 10.0, 50.0, 20.0).unwrap();
        assert!(
            b.to_original(BoxFrame::ModelInput, original, Some(half)).unwrap().iou(&expected) > 1.0 - 1e-12
        );
        assert_eq!(b.to_original(BoxFrame::ModelInput, original, None), Err(FrameError));
    }

    proptest! {
        #[test]
        fn iou_is_bounded_and_symmetric(a in any_box(), b in any_box()) {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&a.iou(&b)));
            prop_assert_eq!(a.iou(&b), b.iou(&a));
        }
    }
}
