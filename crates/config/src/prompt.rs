//! Prompt templates (method section 2). Training and evaluation use the same ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The prompt is one user turn: the images, the question, `common`, and the tail of the sample's form and task,
/// joined by a single space; empty pieces are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptConfig {
    /// A system turn; none when empty (the chat template may add its own).
    pub system: String,
    /// Asked of every sample.
    pub common: String,
    /// Tail of binary samples.
    pub binary: String,
    /// Tail of choice samples with one right letter (detection, mathematics).
    pub choice_one: String,
    /// Tail of choice samples with one or more right letters (classification).
    pub choice_many: String,
    /// Tail of open detection samples.
    pub open_detection: String,
    /// Tail of open classification samples.
    pub open_classification: String,
    /// Tail of open mathematics samples.
    pub open_math: String,
    /// Tail of open short-answer samples.
    pub open_vqa: String,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self {
            system: String::new(),
            common: "First output the thinking process in <think> </think> tags and then output the final answer in \
                     <answer> </answer> tags."
                .into(),
            binary: "The final answer is exactly yes or no.".into(),
            choice_one: "The final answer is exactly one option letter.".into(),
            choice_many: "The final answer is one or more option letters, separated by commas.".into(),
            open_detection: "The final answer is JSON with the box of the object: {\"bbox_2d\": [x1, y1, x2, y2]}."
                .into(),
            open_classification: String::new(),
            open_math: String::new(),
            open_vqa: String::new(),
        }
    }
}
