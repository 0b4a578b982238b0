//! Open detection: where is it.

use reft_config::{DetectionReward, RewardConfig};
use reft_core::{BoundingBox, BoxFrame, Completion, ImageSize, PixelBudget, Reward, Sample, StageError};

use crate::{Reply, answer, parse_box};

/// Pays by the intersection over union (IoU) of the answered and the right box: 1 when it exceeds a threshold (the
/// paper's), or the IoU itself.
///
/// Boxes carry their frame. Where the model's frame and the solution's differ, both are converted to pixels of the
/// original image with the actual sizes; areas are real-valued.
#[derive(Clone, Copy, Debug)]
pub struct DetectionAccuracy {
    /// Threshold or soft.
    pub pay: DetectionReward,
    /// IoU above which `threshold` pays.
    pub iou_threshold: f64,
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
            answer_frame: config.answer_frame.0,
            budget,
        }
    }

    /// The IoU of a completion's box with the right one; 0 without a box.
    pub fn iou(&self, sample: &Sample, completion: &Completion) -> Result<f64, StageError> {
        let solution = answer::solution(sample);
        let right = parse_box(solution).ok_or_else(|| {
            StageError::sample(
                &sample.id,
                format!(
                    "the solution of a detection sample is a box such as `[x1, y1, x2, y2]`, not `{solution}`"
                ),
            )
        })?;
        let Some(given) = Reply::of(completion).answer.and_then(parse_box) else {
            return Ok(0.0);
        };
        // A common scale of both boxes does not change their IoU, so equal frames need no image size.
        if self.answer_frame == sample.box_frame {
            return Ok(given.iou(&right));
        }
        let image = sample.images().next().ok_or_else(|| {
            StageError::sample(
                &sample.id,
                "boxes of two frames are compared, but the sample has no image to convert by",
            )
        })?;
        let given = self.in_original(&given, self.answer_frame, image.size, sample)?;
        let right = self.in_original(&right, sample.box_frame, image.size, sample)?;
        Ok(given.iou(&right))
    }

    fn in_original(
        &self,
        bbox: &BoundingBox,
        frame: BoxFrame,
        original: ImageSize,
        sample: &Sample,
    ) -> Result<BoundingBox, StageError> {
        let resized = match (frame, self.budget) {
            (BoxFrame::ModelInput, Some(budget)) => {
                let grid = budget.grid(original).map_err(|error| StageError::sample(&sample.id, error))?;
                Some(grid.resized)
            }
            _ => None,
        };
        bbox.to_original(frame, original, resized).map_err(|error| StageError::sample(&sample.id, error))
    }
}

impl Reward for DetectionAccuracy {
    fn name(&self) -> &'static str {
        match self.pay {
            DetectionReward::Threshold => "box_threshold",
            DetectionReward::Soft => "box_iou",
        }
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let iou = self.iou(sample, completion)?;
        Ok(match self.pay {
            DetectionReward::Threshold => f32::from(iou > self.iou_threshold),
            DetectionReward::Soft => iou.clamp(0.0, 1.0) as f32,
        })
    }
}
