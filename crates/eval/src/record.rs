//! One line per answer, enough to check any number of a report.

use std::fmt::Write as _;

use reft_core::{FinishReason, Form, GradedGroup, Part, Reason, Sample, SampleId, Task};
use reft_data::digest;
use reft_reward::solution;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One graded answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The question.
    pub sample: SampleId,
    /// What is asked.
    pub task: Task,
    /// How it is asked.
    pub form: Form,
    /// [`prompt_hash`] of the question: equal hashes were asked the same.
    pub prompt_hash: String,
    /// The first 16 hexadecimal digits of the SHA-256 of each picture's encoded bytes.
    #[serde(default)]
    pub images: Vec<String>,
    /// Number among the answers to the question.
    pub index: usize,
    /// The model's whole text.
    pub output: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens of the output.
    #[serde(default)]
    pub tokens: usize,
    /// The answer that was read from it.
    pub answer: Option<String>,
    /// The right answer.
    pub solution: String,
    /// The grade, 0 to 1.
    pub grade: f32,
    /// How the grade came about.
    #[serde(default)]
    pub reason: Reason,
    /// What a judge replied.
    #[serde(default)]
    pub judge: Vec<String>,
}

/// Every answer of graded questions, in order.
pub fn predictions(graded: &[GradedGroup]) -> Vec<Prediction> {
    let of_group = |graded: &GradedGroup| {
        let sample = &graded.group.sample;
        let prompt_hash = prompt_hash(sample);
        let images: Vec<String> = sample.images().map(|image| short_hex(&digest(image))).collect();
        let answers = graded.group.completions.iter().zip(&graded.marks).enumerate();
        answers
            .map(|(index, (completion, mark))| Prediction {
                sample: sample.id.clone(),
                task: sample.task,
                form: sample.form,
                prompt_hash: prompt_hash.clone(),
                images: images.clone(),
                index,
                output: completion.text.clone(),
                finish: completion.finish,
                tokens: completion.token_ids.len(),
                answer: mark.answer.clone(),
                solution: solution(sample).to_owned(),
                grade: mark.score,
                reason: mark.reason,
                judge: mark.replies.clone(),
            })
            .collect::<Vec<_>>()
    };
    graded.iter().flat_map(of_group).collect()
}

/// The first 16 hexadecimal digits of the SHA-256 of the prompt: roles, texts, and names and sizes of images.
pub fn prompt_hash(sample: &Sample) -> String {
    let mut hasher = Sha256::new();
    // Lengths go in before texts, so that no two different prompts give the same bytes.
    let mut add = |kind: u8, bytes: &[u8]| {
        hasher.update([kind]);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for message in &sample.messages {
        add(0, &[message.role as u8]);
        for part in &message.content {
            match part {
                Part::Text(text) => add(1, text.as_bytes()),
                Part::Image(image) => {
                    add(2, image.label.as_bytes());
                    add(3, &image.size.width.to_le_bytes());
                    add(4, &image.size.height.to_le_bytes());
                }
            }
        }
    }
    short_hex(&hasher.finalize())
}

/// The first 16 hexadecimal digits.
fn short_hex(digest: &[u8]) -> String {
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
