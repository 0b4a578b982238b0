//! Rewards by the name that the command line takes.

use std::{fmt, str::FromStr};

use reft_config::{DetectionReward, RewardConfig};
use reft_core::{PixelBudget, Reward};
use reft_peer_rewards::{PeerReward, PeerStage};

use crate::{
    Accuracy, BinaryAccuracy, ChoiceAccuracy, ClassIou, DetectionAccuracy, Format, MathAccuracy, Rubric,
    TextAccuracy,
};

/// A reward of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewardName {
    /// Accuracy + format by the row's form and task: [`Rubric::paper`].
    Paper,
    /// Accuracy by the row's form and task.
    Accuracy,
    /// Format by the row's form and task.
    Format,
    /// Yes or no.
    YesNo,
    /// Option letters.
    Letters,
    /// Intersection over union of class sets.
    ClassIou,
    /// Intersection over union of boxes.
    BoxIou,
    /// Whether the intersection over union of boxes exceeds the threshold.
    BoxThreshold,
    /// Half of one plus the generalised intersection over union of boxes.
    BoxGiou,
    /// Many boxes: overlap of the best one-to-one matching.
    BoxesMatched,
    /// Many boxes: share of the answered ones that match.
    BoxesPrecision,
    /// Many boxes: share of the right ones that are matched.
    BoxesRecall,
    /// Many boxes: harmonic mean of precision and recall.
    BoxesF1,
    /// Many boxes: average precision at the threshold.
    BoxesMap,
    /// Many boxes: average precision at the thresholds of COCO.
    BoxesMapCoco,
    /// Mathematical equality.
    MathEqual,
    /// Equality as text.
    TextEqual,
    /// Another project's, as it behaves.
    Peer(PeerReward),
}

/// A name that no reward has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reward is called `{name}`; choose one of {}", RewardName::all().map(RewardName::as_str).collect::<Vec<_>>().join(", "))]
pub struct UnknownReward {
    /// What was asked for.
    pub name: String,
}

impl RewardName {
    /// Our own rewards.
    pub const OWN: [Self; 17] = [
        Self::Paper,
        Self::Accuracy,
        Self::Format,
        Self::YesNo,
        Self::Letters,
        Self::ClassIou,
        Self::BoxIou,
        Self::BoxThreshold,
        Self::BoxGiou,
        Self::BoxesMatched,
        Self::BoxesPrecision,
        Self::BoxesRecall,
        Self::BoxesF1,
        Self::BoxesMap,
        Self::BoxesMapCoco,
        Self::MathEqual,
        Self::TextEqual,
    ];

    /// Every reward, our own first.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OWN.into_iter().chain(PeerReward::all().map(Self::Peer))
    }

    /// The name as it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Accuracy => "accuracy",
            Self::Format => "format",
            Self::YesNo => "yes_no",
            Self::Letters => "letters",
            Self::ClassIou => "class_iou",
            Self::BoxIou => "box_iou",
            Self::BoxThreshold => "box_threshold",
            Self::BoxGiou => "box_giou",
            Self::BoxesMatched => "boxes_matched",
            Self::BoxesPrecision => "boxes_precision",
            Self::BoxesRecall => "boxes_recall",
            Self::BoxesF1 => "boxes_f1",
            Self::BoxesMap => "boxes_map",
            Self::BoxesMapCoco => "boxes_map_coco",
            Self::MathEqual => "math_equal",
            Self::TextEqual => "text_equal",
            Self::Peer(reward) => reward.as_str(),
        }
    }

    /// The reward itself.
    pub fn build(self, config: &RewardConfig, budget: Option<PixelBudget>) -> Box<dyn Reward> {
        let detection = |pay| DetectionAccuracy { pay, ..DetectionAccuracy::new(config, budget) };
        match self {
            Self::Paper => Box::new(Rubric::paper(config, budget)),
            Self::Accuracy => Box::new(Accuracy::new(config, budget)),
            Self::Format => Box::new(Format),
            Self::YesNo => Box::new(BinaryAccuracy),
            Self::Letters => Box::new(ChoiceAccuracy { partial: config.partial }),
            Self::ClassIou => Box::new(ClassIou),
            Self::BoxIou => Box::new(detection(DetectionReward::Soft)),
            Self::BoxThreshold => Box::new(detection(DetectionReward::Threshold)),
            Self::BoxGiou => Box::new(detection(DetectionReward::Giou)),
            Self::BoxesMatched => Box::new(detection(DetectionReward::Matched)),
            Self::BoxesPrecision => Box::new(detection(DetectionReward::Precision)),
            Self::BoxesRecall => Box::new(detection(DetectionReward::Recall)),
            Self::BoxesF1 => Box::new(detection(DetectionReward::F1)),
            Self::BoxesMap => Box::new(detection(DetectionReward::Map)),
            Self::BoxesMapCoco => Box::new(detection(DetectionReward::MapCoco)),
            Self::MathEqual => Box::new(MathAccuracy),
            Self::TextEqual => Box::new(TextAccuracy),
            Self::Peer(reward) => Box::new(PeerStage { reward, budget }),
        }
    }
}

impl FromStr for RewardName {
    type Err = UnknownReward;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::all()
            .find(|reward| reward.as_str() == name)
            .ok_or_else(|| UnknownReward { name: name.to_owned() })
    }
}

impl fmt::Display for RewardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in RewardName::all() {
            assert_eq!(name.as_str().parse(), Ok(name));
        }
        let error = "acuracy".parse::<RewardName>().unwrap_err().to_string();
        assert!(
            error.contains("`acuracy`")
                && error.contains("paper, accuracy")
                && error.contains("r1v.format_reward"),
            "{error}"
        );
    }
}
