//! Accuracy by form and task: the table of the paper's section 3.

use reft_config::{DetectionReward, RewardConfig};
use reft_core::{Completion, Form, PixelBudget, Reward, Sample, StageError, Task};

use crate::{BinaryAccuracy, ChoiceAccuracy, ClassIou, DetectionAccuracy, MathAccuracy, TextAccuracy};

/// The accuracy reward of whatever form and task the sample has, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Accuracy {
    choice: ChoiceAccuracy,
    detection: DetectionAccuracy,
}

impl Accuracy {
    /// The reward that a recipe asks for. `budget` is needed only where boxes are in model-input pixels.
    pub fn new(config: &RewardConfig, budget: Option<PixelBudget>) -> Self {
        Self {
            choice: ChoiceAccuracy { partial: config.partial },
            detection: DetectionAccuracy::new(config, budget),
        }
    }

    /// [`Accuracy::new`] with boxes paid in full only where they are right, by the threshold: for judges and benchmarks, which
    /// need to know whether an answer is right. Where the recipe pays for many boxes, all of them must match.
    pub fn decisive(config: &RewardConfig, budget: Option<PixelBudget>) -> Self {
        let detection = match config.detection {
            DetectionReward::Threshold | DetectionReward::Soft | DetectionReward::Giou => {
                DetectionReward::Threshold
            }
            DetectionReward::Matched
            | DetectionReward::Precision
            | DetectionReward::Recall
            | DetectionReward::F1
            | DetectionReward::Map
            | DetectionReward::MapCoco => DetectionReward::F1,
        };
        Self::new(&RewardConfig { detection, ..config.clone() }, budget)
    }
}

impl Reward for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        match (sample.form, sample.task) {
            (Form::Binary, _) => BinaryAccuracy.score(sample, completion),
            (Form::Choice, _) => self.choice.score(sample, completion),
            (Form::Open, Task::Detection) => self.detection.score(sample, completion),
            (Form::Open, Task::Classification) => ClassIou.score(sample, completion),
            (Form::Open, Task::Math) => MathAccuracy.score(sample, completion),
            (Form::Open, Task::Vqa) => TextAccuracy.score(sample, completion),
        }
    }
}
