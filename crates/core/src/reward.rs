//! What a completion earned.

use serde::{Deserialize, Serialize};

/// Whether a reward was computed. A part that was not adds 0, and the run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum RewardOutcome {
    /// It was.
    #[default]
    Score,
    /// No answer came in time.
    Timeout {
        /// Which part, and how long it was waited for.
        reason: String,
    },
    /// The reward's code, program or server failed.
    Failed {
        /// Which part, and why.
        reason: String,
    },
}

impl RewardOutcome {
    /// `score`, `timeout` or `failed`: a column on disk and the end of a metric's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Timeout { .. } => "timeout",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why there is no score.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Score => None,
            Self::Timeout { reason } | Self::Failed { reason } => Some(reason),
        }
    }
}

/// A reward and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardParts {
    /// The reward: the weighted sum of the parts.
    pub total: f32,
    /// Unweighted parts by name (`accuracy`, `format`).
    pub parts: Vec<(String, f32)>,
    /// Whether every part was computed.
    #[serde(default)]
    pub outcome: RewardOutcome,
    /// Whether the answer takes no part in the statistics of its group; then it teaches nothing either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// Whether the answer counts in its group and teaches nothing itself: its tokens have no weight in the loss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl RewardParts {
    /// A reward of one part.
    pub fn single(name: impl Into<String>, total: f32) -> Self {
        Self { total, parts: vec![(name.into(), total)], ..Self::default() }
    }

    /// Whether the answer's tokens have a weight in the loss.
    pub fn teaches(&self) -> bool {
        !self.left_out && !self.masked
    }

    /// The value of a part.
    pub fn part(&self, name: &str) -> Option<f32> {
        self.parts.iter().find(|(part, _)| part == name).map(|&(_, value)| value)
    }
}

/// What answers count for that the length limit has cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutAnswers {
    /// As much as others: they are paid what they earn, and teach.
    #[default]
    Learn,
    /// Their rewards count in the group, their tokens not in the loss (TRL's `mask_truncated_completions`).
    Mask,
    /// Neither.
    LeaveOut,
}
