//! What is paid.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ProgramRewardConfig, ServerRewardConfig, data::FrameName};

/// The paper's rewards (method section 3): total = accuracy * weight + format * weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Weight of the accuracy part.
    pub accuracy: f32,
    /// Weight of the format part.
    pub format: f32,
    /// How open detection pays.
    pub detection: DetectionReward,
    /// IoU above which boxes match: `threshold` pays 1, and the ways to pay that count boxes count them.
    pub iou_threshold: f64,
    /// Boxes match only where their labels agree, and none has no label; case and outer space do not matter.
    pub box_labels: bool,
    /// When a choice with several right letters pays 0.2.
    pub partial: PartialCredit,
    /// The frame of the boxes that the model writes.
    pub answer_frame: FrameName,
    /// Pay accuracy only where the format is kept.
    pub format_first: bool,
    /// How the length of a completion is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthConfig>,
    /// A penalty for repeated phrases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition: Option<RepetitionConfig>,
    /// Which script the completion is to be written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageConfig>,
    /// Seconds that the reward of one completion may take, all parts together; then it has no score and the run goes on.
    /// 0: no limit.
    pub timeout_s: f64,
    /// Whether an answer whose reward failed or timed out counts as 0 in its group; else it leaves the group's statistics
    /// and teaches nothing.
    pub pay_zero: bool,
    /// Other projects' rewards by name, with their weights.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, f32>,
    /// Programs of your own that score completions, by the name of their part (docs/REWARDS.md has the protocol).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub program: BTreeMap<String, ProgramRewardConfig>,
    /// Servers that score completions, by the name of their part (docs/REWARDS.md has the protocol).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub server: BTreeMap<String, ServerRewardConfig>,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            accuracy: 1.0,
            format: 1.0,
            detection: DetectionReward::Threshold,
            iou_threshold: 0.5,
            box_labels: false,
            partial: PartialCredit::Subset,
            answer_frame: FrameName::default(),
            format_first: false,
            length: None,
            repetition: None,
            language: None,
            timeout_s: 60.0,
            pay_zero: false,
            peers: BTreeMap::new(),
            program: BTreeMap::new(),
            server: BTreeMap::new(),
        }
    }
}

impl RewardConfig {
    /// The parts that add to accuracy and format, by name, with their weights.
    pub fn other_parts(&self) -> impl Iterator<Item = (&str, f32)> {
        let length = self.length.and_then(|length| match length {
            LengthConfig::Overlong { weight, .. } => Some(("overlong", weight)),
            LengthConfig::Cosine(_) => None,
        });
        let repetition = self.repetition.map(|repetition| ("repetition", repetition.weight));
        let language = self.language.map(|language| ("language", language.weight));
        let peers = self.peers.iter().map(|(name, &weight)| (name.as_str(), weight));
        let programs = self.program.iter().map(|(name, program)| (name.as_str(), program.weight));
        let servers = self.server.iter().map(|(name, server)| (name.as_str(), server.weight));
        [length, repetition, language].into_iter().flatten().chain(peers).chain(programs).chain(servers)
    }
}

/// How the length of a completion is paid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LengthConfig {
    /// A punishment that grows over the last tokens (DAPO).
    Overlong {
        /// Tokens at which it is -1.
        max_tokens: usize,
        /// Tokens before that over which it grows.
        buffer_tokens: usize,
        /// Weight of the part.
        #[serde(default = "one")]
        weight: f32,
    },
    /// Accuracy by a cosine of the length (Yeo et al. 2025).
    Cosine(CosineConfig),
}

/// The ends of the cosine length reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CosineConfig {
    /// Tokens at which a completion is long.
    pub max_tokens: usize,
    /// What a right answer of no tokens would earn.
    #[serde(default = "one")]
    pub right_short: f32,
    /// What a long right answer earns.
    #[serde(default = "CosineConfig::half")]
    pub right_long: f32,
    /// What a wrong answer of no tokens would earn.
    #[serde(default = "CosineConfig::minus_half")]
    pub wrong_short: f32,
    /// What a long wrong answer earns.
    #[serde(default)]
    pub wrong_long: f32,
}

impl CosineConfig {
    fn half() -> f32 {
        0.5
    }
    fn minus_half() -> f32 {
        -0.5
    }
}

/// A penalty for repeated phrases: `unique / all - 1`, -1 to 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepetitionConfig {
    /// Words that make a phrase.
    #[serde(default = "RepetitionConfig::six")]
    pub words: usize,
    /// Weight of the part.
    #[serde(default = "one")]
    pub weight: f32,
}

impl RepetitionConfig {
    fn six() -> usize {
        6
    }
}

/// Pays the share of letters that belong to a script, 0 to 1; tags and commands of LaTeX are no letters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageConfig {
    /// The script.
    pub script: ScriptName,
    /// Weight of the part.
    #[serde(default = "one")]
    pub weight: f32,
}

/// A script, or the scripts of a language that mixes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScriptName {
    /// English and most languages of Europe, Vietnamese, Turkish, Indonesian.
    Latin,
    /// Chinese.
    Han,
    /// Japanese: kana and Han characters.
    Japanese,
    /// Korean.
    Hangul,
    /// Russian, Ukrainian, Bulgarian.
    Cyrillic,
    /// Arabic, Persian, Urdu.
    Arabic,
    /// Hindi, Marathi.
    Devanagari,
    /// Greek.
    Greek,
    /// Hebrew.
    Hebrew,
    /// Thai.
    Thai,
}

fn one() -> f32 {
    1.0
}

/// How open detection pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DetectionReward {
    /// One box: 1 when IoU exceeds the threshold, else 0.
    #[default]
    Threshold,
    /// One box: the IoU itself.
    Soft,
    /// One box: `(1 + GIoU) / 2`, which also tells near from far where boxes do not meet.
    Giou,
    /// Many boxes, matched one to one: the sum of their IoU, divided by the larger number of boxes.
    Matched,
    /// Many boxes, matched one to one: the share of the answered boxes that match.
    Precision,
    /// Many boxes, matched one to one: the share of the right boxes that are matched.
    Recall,
    /// Many boxes, matched one to one: the harmonic mean of precision and recall.
    F1,
    /// Many boxes: average precision at the threshold, averaged over labels.
    Map,
    /// Many boxes: average precision at 0.5, 0.55, .. 0.95, averaged over thresholds and labels (COCO).
    MapCoco,
}

/// When a choice with several right letters is partly right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartialCredit {
    /// A non-empty strict subset of the right letters; a wrong letter makes it 0.
    #[default]
    Subset,
    /// Any overlap with the right letters.
    Overlap,
}
