//! What a benchmark says of one answer.

use serde::{Deserialize, Serialize};

/// The mark of one answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// 0 to 1.
    pub score: f32,
    /// What was read from the output; none where nothing could be.
    pub answer: Option<String>,
    /// How the mark came about.
    pub reason: Reason,
    /// Overlap of the boxes, 0 to 1, where the answer is a box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f64>,
    /// What the judge replied, call by call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replies: Vec<String>,
}

/// How a mark came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// An answer was read and compared.
    #[default]
    Read,
    /// No answer could be read, which counts as wrong.
    Unread,
    /// A judge decided.
    Judged,
    /// A judge was needed and there was none: wrong, or what the grader guesses then.
    NoJudge,
    /// The judge's replies could not be used: wrong, or what the grader guesses then.
    Unjudged,
    /// The published grader draws by lot here; counted as unread.
    Lot,
    /// The published grader fails with an exception here; counted as wrong.
    Raises,
}

impl Reason {
    /// The name in files and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Unread => "unread",
            Self::Judged => "judged",
            Self::NoJudge => "no_judge",
            Self::Unjudged => "unjudged",
            Self::Lot => "lot",
            Self::Raises => "raises",
        }
    }

    /// Whether no answer came out, so that the verdict says nothing about what the model knows.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Read | Self::Judged)
    }
}

impl Mark {
    /// An answer that was read, right or wrong.
    pub fn read(answer: impl Into<String>, right: bool) -> Self {
        Self { score: f32::from(u8::from(right)), answer: Some(answer.into()), ..Self::default() }
    }

    /// Read where there is an answer, else unread.
    pub fn of(answer: Option<String>, right: bool) -> Self {
        match answer {
            Some(answer) => Self::read(answer, right),
            None => Self { reason: Reason::Unread, ..Self::default() },
        }
    }

    /// A mark for a reason.
    pub fn because(reason: Reason) -> Self {
        Self { reason, ..Self::default() }
    }

    /// With another reason.
    #[must_use]
    pub fn with(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Whether it counts as right.
    pub fn is_right(&self) -> bool {
        self.score >= 1.0
    }
}

impl From<f32> for Mark {
    /// The mark of an answer that was read, of which nothing but the score is known.
    fn from(score: f32) -> Self {
        Self { score, ..Self::default() }
    }
}
