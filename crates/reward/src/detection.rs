//! Open detection: where is it, or where are they.
//!
//! | `detection` | boxes | pays |
//! |---|---|---|
//! | `threshold` | the first | 1 when IoU exceeds the threshold (the paper's) |
//! | `soft` | the first | IoU |
//! | `giou` | the first | `(1 + GIoU) / 2` |
//! | `matched` | all, one to one | sum of IoU / larger number of boxes |
//! | `precision`, `recall`, `f1` | all, one to one | by pairs whose IoU exceeds the threshold |
//! | `map`, `map_coco` | all, by confidence | average precision at the threshold, or at COCO's ten |
//!
//! Where nothing is there (`No Objects`, `None`, `[]`), saying so earns 1 and any box 0.
//! Boxes carry their frame. Where the model's frame and the solution's differ, both are converted to pixels of the
//! original image with the actual sizes; areas are real-valued.

use reft_config::{DetectionReward, RewardConfig};
use reft_core::{BoundingBox, BoxFrame, Completion, ImageSize, PixelBudget, Reward, Sample, StageError};

use crate::{
    FoundBox, Reply, answer,
    boxes::MAX_BOXES,
    matching::{self, Rule},
    parse_boxes,
};

/// Pays for boxes, 0 to 1; the module's table says how.
#[derive(Clone, Copy, Debug)]
pub struct DetectionAccuracy {
    /// What is paid.
    pub pay: DetectionReward,
    /// IoU above which boxes match.
    pub iou_threshold: f64,
    /// Whether matching boxes need equal labels, where many are matched.
    pub labels: bool,
    /// The frame of the boxes that the model writes.
    pub answer_frame: BoxFrame,
    /// How the model's processor resizes; needed only for boxes in model-input pixels.
    pub budget: Option<PixelBudget>,
}

impl DetectionAccuracy {
    /// The reward that a recipe asks for.
    pub fn new(config: &RewardConfig, budget: Option<PixelBudget>) -> Self {
        Self {
            pay: config.detection,
            iou_threshold: config.iou_threshold,
            labels: config.box_labels,
            answer_frame: config.answer_frame.0,
            budget,
        }
    }

    /// The IoU of a completion's first box with the right one; 0 without a box. Where nothing is there, 1 for saying so.
    pub fn iou(&self, sample: &Sample, completion: &Completion) -> Result<f64, StageError> {
        self.first(sample, completion, BoundingBox::iou)
    }

    /// What the first box of the completion earns beside the right one, in one frame.
    fn first(
        &self,
        sample: &Sample,
        completion: &Completion,
        pay: impl FnOnce(&BoundingBox, &BoundingBox) -> f64,
    ) -> Result<f64, StageError> {
        let solution = answer::solution(sample);
        let right = parse_boxes(solution).ok_or_else(|| unreadable(sample, solution))?;
        let Some(given) = Reply::of(completion).answer.and_then(parse_boxes) else {
            return Ok(0.0);
        };
        let (Some(right), Some(given)) = (right.first(), given.first()) else {
            return Ok(both_empty(&right, &given));
        };
        let frames = self.frames(sample)?;
        Ok(pay(&frames.right(&right.bbox), &frames.given(&given.bbox)))
    }

    /// What many boxes earn.
    fn many(&self, sample: &Sample, completion: &Completion) -> Result<f64, StageError> {
        let solution = answer::solution(sample);
        let mut right = parse_boxes(solution).ok_or_else(|| unreadable(sample, solution))?;
        if right.len() > MAX_BOXES {
            let n = right.len();
            return Err(StageError::sample(
                &sample.id,
                format!(
                    "the solution has {n} boxes, and at most {MAX_BOXES} can be matched; split the question"
                ),
            ));
        }
        let Some(mut given) = Reply::of(completion).answer.and_then(parse_boxes) else {
            return Ok(0.0);
        };
        if right.is_empty() || given.is_empty() {
            return Ok(both_empty(&right, &given));
        }
        let answered = given.len();
        given.truncate(MAX_BOXES);
        let frames = self.frames(sample)?;
        for found in &mut right {
            found.bbox = frames.right(&found.bbox);
        }
        for found in &mut given {
            found.bbox = frames.given(&found.bbox);
        }
        Ok(self.of_lists(&right, &given, answered))
    }

    /// `answered` counts every box of the answer, also those that are too many to match.
    fn of_lists(&self, right: &[FoundBox], given: &[FoundBox], answered: usize) -> f64 {
        let rule = Rule { above: self.iou_threshold, labels: self.labels };
        let share = |all: usize| matching::matched(right, given, rule).len() as f64 / all as f64;
        match self.pay {
            DetectionReward::Precision => share(answered),
            DetectionReward::Recall => share(right.len()),
            // 2 P R / (P + R) = 2 pairs / (answered + right).
            DetectionReward::F1 => 2.0 * share(answered + right.len()),
            DetectionReward::Map => matching::average_precision(right, given, rule),
            DetectionReward::MapCoco => matching::coco(right, given, self.labels),
            DetectionReward::Matched
            | DetectionReward::Threshold
            | DetectionReward::Soft
            | DetectionReward::Giou => {
                let sum: f64 = matching::overlaps(right, given, self.labels).iter().sum();
                sum / answered.max(right.len()) as f64
            }
        }
    }

    /// How boxes of this sample come into one frame. A common scale of both boxes changes no IoU, so equal frames need
    /// no image size.
    fn frames(&self, sample: &Sample) -> Result<Frames, StageError> {
        if self.answer_frame == sample.box_frame {
            return Ok(Frames::default());
        }
        let image = sample.images().next().ok_or_else(|| {
            StageError::sample(
                &sample.id,
                "boxes of two frames are compared, but the sample has no image to convert by",
            )
        })?;
        Ok(Frames {
            right: self.scale(sample.box_frame, image.size, sample)?,
            given: self.scale(self.answer_frame, image.size, sample)?,
        })
    }

    /// What takes one unit of a frame to pixels of the original image.
    fn scale(&self, frame: BoxFrame, original: ImageSize, sample: &Sample) -> Result<(f64, f64), StageError> {
        let broken = |error: &dyn std::fmt::Display| StageError::sample(&sample.id, error);
        let resized = match (frame, self.budget) {
            (BoxFrame::ModelInput, Some(budget)) => {
                Some(budget.grid(original).map_err(|error| broken(&error))?.resized)
            }
            _ => None,
        };
        frame.scale(original, resized).map_err(|error| broken(&error))
    }
}

/// Factors along x and y.
struct Frames {
    right: (f64, f64),
    given: (f64, f64),
}

impl Default for Frames {
    fn default() -> Self {
        Self { right: (1.0, 1.0), given: (1.0, 1.0) }
    }
}

impl Frames {
    fn right(&self, bbox: &BoundingBox) -> BoundingBox {
        bbox.scaled(self.right)
    }

    fn given(&self, bbox: &BoundingBox) -> BoundingBox {
        bbox.scaled(self.given)
    }
}

/// What is paid where one side says that nothing is there: 1 when both do.
fn both_empty(right: &[FoundBox], given: &[FoundBox]) -> f64 {
    f64::from(right.is_empty() && given.is_empty())
}

fn unreadable(sample: &Sample, solution: &str) -> StageError {
    StageError::sample(
        &sample.id,
        format!(
            "the solution of a detection sample is a box such as `[x1, y1, x2, y2]`, or `No Objects`, not `{solution}`"
        ),
    )
}

impl Reward for DetectionAccuracy {
    fn name(&self) -> &'static str {
        match self.pay {
            DetectionReward::Threshold => "box_threshold",
            DetectionReward::Soft => "box_iou",
            DetectionReward::Giou => "box_giou",
            DetectionReward::Matched => "boxes_matched",
            DetectionReward::Precision => "boxes_precision",
            DetectionReward::Recall => "boxes_recall",
            DetectionReward::F1 => "boxes_f1",
            DetectionReward::Map => "boxes_map",
            DetectionReward::MapCoco => "boxes_map_coco",
        }
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let paid = match self.pay {
            DetectionReward::Threshold => f64::from(self.iou(sample, completion)? > self.iou_threshold),
            DetectionReward::Soft => self.iou(sample, completion)?,
            DetectionReward::Giou => {
                self.first(sample, completion, |right, given| f64::midpoint(1.0, right.giou(given)))?
            }
            DetectionReward::Matched
            | DetectionReward::Precision
            | DetectionReward::Recall
            | DetectionReward::F1
            | DetectionReward::Map
            | DetectionReward::MapCoco => self.many(sample, completion)?,
        };
        Ok(paid.clamp(0.0, 1.0) as f32)
    }
}
