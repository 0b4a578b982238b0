//! What the model answered, and what was made of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Mark, RewardParts, Sample, Support};

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model sampled its end token, or wrote a stop string.
    Stop,
    /// `max_new_tokens` was reached.
    Length,
}

/// One answer of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The decoded text, without the end token. A stop string that ended it is its last words.
    pub text: String,
    /// `[L]` sampled token ids, as they were drawn: the end token included when it ended the completion.
    pub token_ids: Vec<i64>,
    /// `[L]` natural log-probabilities under the distribution that was sampled from.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
    /// Whether the prompt ended inside a think block that the chat template had opened, so that the text begins there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub think_opened: bool,
    /// `[L]` what the tokens were drawn from; none where that was all that the policy may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<Support>,
}

impl Completion {
    /// A completion known only by its text, as stored predictions are. It ended by itself and has no tokens.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            finish: FinishReason::Stop,
            think_opened: false,
            support: None,
        }
    }
}

/// The G answers to one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The question.
    pub sample: Arc<Sample>,
    /// Tokens of the prompt, images expanded.
    pub prompt_tokens: usize,
    /// `[G]` answers.
    pub completions: Vec<Completion>,
    /// How many optimizer updates the policy had seen when it answered, where a loop counts them: an engine says by [`lag`](crate::RolloutEngine::lag) how far it was behind.
    pub policy_version: Option<u64>,
    /// Softmax temperature that they were drawn with, where a curriculum may have changed it; none where it is that of the
    /// phase.
    pub temperature: Option<f32>,
}

/// What a filter decided about a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Train on it.
    Admit,
    /// Do not train on it; still shown to the curriculum and written to disk.
    Reject {
        /// A short name, used as a counter in the metrics (`zero_variance`).
        reason: String,
    },
}

/// A group with its rewards and advantages.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredGroup {
    /// The question and the answers.
    pub group: Group,
    /// `[G]` rewards with their parts.
    pub rewards: Vec<RewardParts>,
    /// `[G]` advantages, the same for every token of a completion.
    pub advantages: Vec<f32>,
    /// Whether it is trained on.
    pub verdict: Verdict,
}

impl ScoredGroup {
    /// `[G]` total rewards.
    pub fn totals(&self) -> Vec<f32> {
        self.rewards.iter().map(|parts| parts.total).collect()
    }

    /// Totals of the rewards that are not left out of the group's statistics.
    pub fn counted_totals(&self) -> Vec<f32> {
        self.rewards.iter().filter(|reward| !reward.left_out).map(|reward| reward.total).collect()
    }

    /// `[G]` `accuracy` parts; the totals of a reward that has no such part.
    pub fn accuracies(&self) -> Vec<f32> {
        self.rewards.iter().map(|reward| reward.part("accuracy").unwrap_or(reward.total)).collect()
    }

    /// The mean of [`ScoredGroup::accuracies`] over the rewards that are not left out: how well the policy answers this
    /// question now.
    pub fn pass_rate(&self) -> f64 {
        let accuracies = self.accuracies();
        let counted = self.rewards.iter().zip(accuracies).filter(|(reward, _)| !reward.left_out);
        let (sum, n) = counted.fold((0.0, 0_usize), |(sum, n), (_, a)| (sum + f64::from(a), n + 1));
        sum / n.max(1) as f64
    }

    /// Whether the group is trained on.
    pub fn is_admitted(&self) -> bool {
        self.verdict == Verdict::Admit
    }
}

/// A judge's opinion of one completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// 0 to 100.
    pub score: f32,
    /// Why, for the record.
    pub reason: String,
}

/// A group with a judge's opinion of each answer: what rejection sampling selects from.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedGroup {
    /// The question and the answers.
    pub group: Group,
    /// `[N]` opinions, one per completion.
    pub judgements: Vec<Judgement>,
}

/// A group with the mark of each answer: what a benchmark reports on.
#[derive(Clone, Debug, PartialEq)]
pub struct GradedGroup {
    /// The question and the answers.
    pub group: Group,
    /// `[G]` marks.
    pub marks: Vec<Mark>,
}

impl GradedGroup {
    /// `[G]` scores as numbers to sum.
    pub fn scores(&self) -> impl Iterator<Item = f64> {
        self.marks.iter().map(|mark| f64::from(mark.score))
    }
}
