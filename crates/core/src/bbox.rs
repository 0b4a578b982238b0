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

impl BoxFrame {
    /// Pixels of the original image that one unit of the frame makes, along x and y. `model_input` is the size after
    /// the processor's resize, needed only for that frame.
    pub fn scale(
        self,
        original: ImageSize,
        model_input: Option<ImageSize>,
    ) -> Result<(f64, f64), FrameError> {
        let (w, h) = (f64::from(original.width), f64::from(original.height));
        Ok(match self {
            Self::Original => (1.0, 1.0),
            Self::ModelInput => {
                let resized = model_input.ok_or(FrameError)?;
                (w / f64::from(resized.width), h / f64::from(resized.height))
            }
            Self::Unit => (w, h),
            Self::Thousand => (w / 1000.0, h / 1000.0),
        })
    }
}

/// A conversion that needs a size nobody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a box in model-input pixels needs the size that an image is resized to: give the model's pixel budget; models that cut \
     images into tiles have none, and boxes are `original`, `unit` or `thousand` there"
)]
pub struct FrameError;

/// Largest coordinate of a box, in any frame.
const LARGEST: f64 = 1e100;

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
    /// A box from two corners in any order; none when a number is not finite, or so large that areas would not be.
    pub fn new(x1: f64, y1: f64, x2: f64, y2: f64) -> Option<Self> {
        [x1, y1, x2, y2].iter().all(|v| v.abs() <= LARGEST).then(|| Self {
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

    /// Generalised intersection over union (Rezatofighi et al. 2019, arXiv 1902.09630), -1 to 1: IoU minus the share of
    /// the smallest enclosing box that neither box covers. -1 when the enclosing box is empty.
    pub fn giou(&self, other: &Self) -> f64 {
        let width = self.x2.max(other.x2) - self.x1.min(other.x1);
        let height = self.y2.max(other.y2) - self.y1.min(other.y1);
        let hull = width * height;
        let iou = self.iou(other);
        // From |A| + |B| = union (1 + IoU).
        let union = (self.area() + other.area()) / (1.0 + iou);
        if hull > 0.0 { (iou - (hull - union) / hull).clamp(-1.0, 1.0) } else { -1.0 }
    }

    /// The box with its x and its y multiplied by positive factors.
    #[must_use]
    pub fn scaled(&self, (x, y): (f64, f64)) -> Self {
        Self { x1: self.x1 * x, y1: self.y1 * y, x2: self.x2 * x, y2: self.y2 * y }
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
        // The hull of `a` and `b` is 3x2 and full; apart by 2, the hull is 6x2 and a third of it is empty.
        assert!((a.giou(&b) - 1.0 / 3.0).abs() < 1e-12);
        let far = BoundingBox::new(4.0, 0.0, 6.0, 2.0).unwrap();
        assert!((a.giou(&far) + 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((a.giou(&a), point.giou(&point)), (1.0, -1.0));
        for huge in [1e308, f64::INFINITY, f64::NAN] {
            assert_eq!(BoundingBox::new(0.0, -huge, 1.0, huge), None);
        }
    }

    #[test]
    fn frames_by_hand() {
        let original = ImageSize { width: 200, height: 100 };
        let b = BoundingBox::new(0.1, 0.2, 0.5, 0.4).unwrap();
        let expected = BoundingBox::new(20.0, 20.0, 100.0, 40.0).unwrap();
        let got = b.scaled(BoxFrame::Unit.scale(original, None).unwrap());
        assert!(got.iou(&expected) > 1.0 - 1e-12);
        let half = ImageSize { width: 100, height: 50 };
        let b = BoundingBox::new(10.0, 10.0, 50.0, 20.0).unwrap();
        assert!(
            b.scaled(BoxFrame::ModelInput.scale(original, Some(half)).unwrap()).iou(&expected) > 1.0 - 1e-12
        );
        assert_eq!(BoxFrame::ModelInput.scale(original, None), Err(FrameError));
    }

    proptest! {
        #[test]
        fn iou_is_bounded_and_symmetric(a in any_box(), b in any_box()) {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&a.iou(&b)));
            prop_assert_eq!(a.iou(&b), b.iou(&a));
            prop_assert!((-1.0..=a.iou(&b) + 1e-12).contains(&a.giou(&b)));
            prop_assert_eq!(a.giou(&b), b.giou(&a));
        }
    }
}
