//! Peers' rewards by name.

use super::{
    PeerRow, Raises, Symbolic,
    curr_reft::{self, PeerTask, Stage},
    easyr1, r1v, tags,
    visual_rft::{self, Paid},
    vlm_r1,
};

/// A reward of another project, by its name. Some names share a reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerReward {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    R1vAccuracy(Symbolic),
    /// R1-V's, which Visual-RFT, VLM-R1 and EasyR1 share.
    ThinkAnswer,
    VisualRft(Paid, Symbolic),
    VisualRftClassification(Symbolic),
    QwenIou,
    QwenFormat,
    InternvlIou,
    InternvlFormat,
    GlmFormat,
    VlmR1Default(Symbolic),
    VlmR1Math(Symbolic),
    VlmR1Mcq,
    VlmR1YesNo,
    VlmR1AllMatch,
    VlmR1WeightedSum,
    VlmR1Repetition,
    CurrReft(Stage, PeerTask, Symbolic),
    CurrReftFormat(PeerTask),
    EasyR1Accuracy,
    EasyR1Overall,
    EasyMathAccuracy,
    EasyMathOverall,
    EasyDapo,
}

/// Every name with its reward. `#no_symbolic` is the reward with a symbolic step that raises.
const NAMES: [(&str, Kind); 54] = [
    ("r1v.accuracy_reward", Kind::R1vAccuracy(Symbolic::On)),
    ("r1v.accuracy_reward#no_symbolic", Kind::R1vAccuracy(Symbolic::Raises)),
    ("r1v.format_reward", Kind::ThinkAnswer),
    ("visual_rft.accuracy_reward_iou", Kind::VisualRft(Paid::Iou, Symbolic::On)),
    ("visual_rft.accuracy_reward_iou#no_symbolic", Kind::VisualRft(Paid::Iou, Symbolic::Raises)),
    ("visual_rft.accuracy_reward_confidence", Kind::VisualRft(Paid::Confidence, Symbolic::On)),
    (
        "visual_rft.accuracy_reward_confidence#no_symbolic",
        Kind::VisualRft(Paid::Confidence, Symbolic::Raises),
    ),
    ("visual_rft.format_reward", Kind::ThinkAnswer),
    ("visual_rft.classification.accuracy_reward", Kind::VisualRftClassification(Symbolic::On)),
    (
        "visual_rft.classification.accuracy_reward#no_symbolic",
        Kind::VisualRftClassification(Symbolic::Raises),
    ),
    ("vlm_r1.qwen.iou_reward", Kind::QwenIou),
    ("vlm_r1.qwen.format_reward_rec", Kind::QwenFormat),
    ("vlm_r1.internvl.iou_reward", Kind::InternvlIou),
    ("vlm_r1.internvl.format_reward_rec", Kind::InternvlFormat),
    ("vlm_r1.glm.format_reward_rec", Kind::GlmFormat),
    ("vlm_r1.accuracy_reward.default", Kind::VlmR1Default(Symbolic::On)),
    ("vlm_r1.accuracy_reward.default#no_symbolic", Kind::VlmR1Default(Symbolic::Raises)),
    ("vlm_r1.accuracy_reward.mcq", Kind::VlmR1Mcq),
    ("vlm_r1.accuracy_reward.yes_no", Kind::VlmR1YesNo),
    ("vlm_r1.accuracy_reward.all_match", Kind::VlmR1AllMatch),
    ("vlm_r1.accuracy_reward.math", Kind::VlmR1Math(Symbolic::On)),
    ("vlm_r1.accuracy_reward.math#no_symbolic", Kind::VlmR1Math(Symbolic::Raises)),
    ("vlm_r1.accuracy_reward.weighted_sum", Kind::VlmR1WeightedSum),
    ("vlm_r1.format_reward", Kind::ThinkAnswer),
    ("vlm_r1.repetition_reward", Kind::VlmR1Repetition),
    ("curr_reft.stage1.iou_reward.classify", Kind::CurrReft(Stage::Judge, PeerTask::Classify, Symbolic::On)),
    (
        "curr_reft.stage1.iou_reward.detection",
        Kind::CurrReft(Stage::Judge, PeerTask::Detection, Symbolic::On),
    ),
    ("curr_reft.stage1.iou_reward.math", Kind::CurrReft(Stage::Judge, PeerTask::Math, Symbolic::On)),
    (
        "curr_reft.stage1.iou_reward.math#no_symbolic",
        Kind::CurrReft(Stage::Judge, PeerTask::Math, Symbolic::Raises),
    ),
    ("curr_reft.stage1.format_reward.classify", Kind::CurrReftFormat(PeerTask::Classify)),
    ("curr_reft.stage1.format_reward.detection", Kind::CurrReftFormat(PeerTask::Detection)),
    ("curr_reft.stage1.format_reward.math", Kind::CurrReftFormat(PeerTask::Math)),
    ("curr_reft.stage2.iou_reward.classify", Kind::CurrReft(Stage::Choice, PeerTask::Classify, Symbolic::On)),
    (
        "curr_reft.stage2.iou_reward.classify#no_symbolic",
        Kind::CurrReft(Stage::Choice, PeerTask::Classify, Symbolic::Raises),
    ),
    (
        "curr_reft.stage2.iou_reward.detection",
        Kind::CurrReft(Stage::Choice, PeerTask::Detection, Symbolic::On),
    ),
    (
        "curr_reft.stage2.iou_reward.detection#no_symbolic",
        Kind::CurrReft(Stage::Choice, PeerTask::Detection, Symbolic::Raises),
    ),
    ("curr_reft.stage2.iou_reward.math", Kind::CurrReft(Stage::Choice, PeerTask::Math, Symbolic::On)),
    (
        "curr_reft.stage2.iou_reward.math#no_symbolic",
        Kind::CurrReft(Stage::Choice, PeerTask::Math, Symbolic::Raises),
    ),
    ("curr_reft.stage2.format_reward.classify", Kind::CurrReftFormat(PeerTask::Classify)),
    ("curr_reft.stage2.format_reward.detection", Kind::CurrReftFormat(PeerTask::Detection)),
    ("curr_reft.stage2.format_reward.math", Kind::CurrReftFormat(PeerTask::Math)),
    ("curr_reft.stage3.iou_reward.classify", Kind::CurrReft(Stage::Open, PeerTask::Classify, Symbolic::On)),
    ("curr_reft.stage3.iou_reward.detection", Kind::CurrReft(Stage::Open, PeerTask::Detection, Symbolic::On)),
    ("curr_reft.stage3.iou_reward.math", Kind::CurrReft(Stage::Open, PeerTask::Math, Symbolic::On)),
    (
        "curr_reft.stage3.iou_reward.math#no_symbolic",
        Kind::CurrReft(Stage::Open, PeerTask::Math, Symbolic::Raises),
    ),
    ("curr_reft.stage3.format_reward.classify", Kind::CurrReftFormat(PeerTask::Classify)),
    ("curr_reft.stage3.format_reward.detection", Kind::CurrReftFormat(PeerTask::Detection)),
    ("curr_reft.stage3.format_reward.math", Kind::CurrReftFormat(PeerTask::Math)),
    ("easyr1.r1v.accuracy_reward", Kind::EasyR1Accuracy),
    ("easyr1.r1v.compute_score.overall", Kind::EasyR1Overall),
    ("easyr1.r1v.format_reward", Kind::ThinkAnswer),
    ("easyr1.math.compute_score.overall", Kind::EasyMathOverall),
    ("easyr1.math.compute_score.accuracy", Kind::EasyMathAccuracy),
    ("easyr1.dapo.accuracy_reward", Kind::EasyDapo),
];

impl PeerReward {
    /// Every reward.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(name, kind)| Self { name, kind })
    }

    /// The reward of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|reward| reward.name == name)
    }

    /// The name: project, function, variant.
    pub fn as_str(self) -> &'static str {
        self.name
    }

    /// What the original pays. An error is where it raises.
    pub fn score(self, row: &PeerRow<'_>) -> Result<f64, Raises> {
        let text = row.completion;
        Ok(match self.kind {
            Kind::R1vAccuracy(symbolic) => r1v::accuracy(row, symbolic),
            Kind::ThinkAnswer => f64::from(tags::is_think_answer(text)),
            Kind::VisualRft(paid, symbolic) => visual_rft::detection(row, paid, symbolic),
            Kind::VisualRftClassification(symbolic) => visual_rft::classification(row, symbolic),
            Kind::QwenIou => vlm_r1::qwen_iou(row)?,
            Kind::QwenFormat => f64::from(tags::has_think_answer_braced_box(text)),
            Kind::InternvlIou => vlm_r1::internvl_iou(row)?,
            Kind::InternvlFormat => f64::from(tags::has_think_answer_box(text)),
            Kind::GlmFormat => f64::from(tags::has_think_then_answer(text)),
            Kind::VlmR1Default(symbolic) => vlm_r1::default(row, symbolic),
            Kind::VlmR1Math(symbolic) => vlm_r1::math(row, symbolic)?,
            Kind::VlmR1Mcq => vlm_r1::mcq(row),
            Kind::VlmR1YesNo => vlm_r1::yes_no(row),
            Kind::VlmR1AllMatch => vlm_r1::all_match(row),
            Kind::VlmR1WeightedSum => vlm_r1::weighted_sum(row)?,
            Kind::VlmR1Repetition => vlm_r1::repetition(row)?,
            Kind::CurrReft(stage, task, symbolic) => curr_reft::accuracy(row, stage, task, symbolic),
            Kind::CurrReftFormat(task) => curr_reft::format(row, task),
            Kind::EasyR1Accuracy => easyr1::r1v_accuracy(row),
            Kind::EasyR1Overall => easyr1::r1v_overall(row),
            Kind::EasyMathAccuracy => easyr1::math_accuracy(row),
            Kind::EasyMathOverall => easyr1::math_overall(row),
            Kind::EasyDapo => easyr1::dapo(row),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for reward in PeerReward::all() {
            assert_eq!(PeerReward::named(reward.as_str()), Some(reward));
        }
        assert_eq!(PeerReward::named("r1v.accuracy"), None);
    }
}
