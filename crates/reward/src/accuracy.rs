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

    /// The same, with boxes paid by the threshold even where the recipe pays softly: for judges and benchmarks, which
    /// need to know whether an answer is right.
    pub fn decisive(config: &RewardConfig, budget: Option<PixelBudget>) -> Self {
        Self::new(&RewardConfig { detection: DetectionReward::Threshold, ..config.clone() }, budget)
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
