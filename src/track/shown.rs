//! A question of a step with its answers, as trackers show it beside the numbers.

use std::{fmt::Write as _, path::Path};

use reft_core::ImageSize;
use reft_store::RunReader;

use crate::{
    examples::{Pictures, bytes_of},
    step::{GroupAnswers, answers_in},
};

/// Steps of a phase between two questions that are shown, the first step's beside them.
const EVERY: u64 = 10;

/// A group, and its picture.
pub(super) struct Shown {
    /// Which step of the run, from 1.
    pub(super) number: u64,
    /// The phase.
    pub(super) phase: String,
    /// The first question that the step asked.
    pub(super) group: GroupAnswers,
    /// The picture, where there is one.
    pub(super) picture: Option<Picture>,
}

/// An image as it is on disk.
pub(super) struct Picture {
    /// What decoding gives.
    pub(super) size: ImageSize,
    /// The file's bytes.
    pub(super) encoded: Vec<u8>,
}

impl Shown {
    /// What is shown of a step, which is recorded already; nothing of most steps, and of phases that ask nobody.
    pub(super) fn of(
        run: &Path,
        phase: &str,
        step: u64,
        number: u64,
        pictures: &mut Pictures,
    ) -> Option<Self> {
        if step != 1 && !step.is_multiple_of(EVERY) {
            return None;
        }
        let reader = RunReader::open(run).ok()?;
        let file = format!("step_{step:06}.parquet");
        let files = reader.completions(phase).ok()?;
        let path = files.iter().find(|path| path.file_name().is_some_and(|name| name == file.as_str()))?;
        let group = answers_in(&reader, phase, path).groups.into_iter().next()?;
        let picture = pictures.data_of(phase).and_then(|data| {
            let (image, _) = pictures.find(&data, &group.picture)?;
            let encoded = bytes_of(&image).ok()?;
            Some(Picture { size: image.size, encoded })
        });
        Some(Self { number, phase: phase.to_owned(), group, picture })
    }

    /// The question, and its answers from the best to the worst. What a model wrote is indented, so it is nothing but text.
    pub(super) fn markdown(&self) -> String {
        let GroupAnswers { sample, task, form, prompt, solution, verdict, .. } = &self.group;
        let mut text = format!("`{sample}` ({task}, {form}) {verdict}\n\n");
        let mut block = |label: &str, body: &str| {
            let _ = write!(text, "{label}\n\n    {}\n\n", body.trim().replace('\n', "\n    "));
        };
        block("question", &prompt.replace("<image>", ""));
        block("right answer", solution);
        for answer in self.answers() {
            block(&answer.0, &answer.1);
        }
        text
    }

    /// `reward 1.20, advantage +0.43` and what was written, the best first.
    pub(super) fn answers(&self) -> Vec<(String, String)> {
        let mut answers: Vec<_> = self.group.answers.iter().collect();
        let reward = |answer: &crate::step::StepAnswer| answer.reward.unwrap_or(f64::NEG_INFINITY);
        answers.sort_by(|a, b| reward(b).total_cmp(&reward(a)));
        let marked = answers.into_iter().map(|answer| {
            let mut mark =
                answer.reward.map_or_else(|| "failed".to_owned(), |reward| format!("reward {reward:.2}"));
            if let Some(advantage) = answer.advantage {
                let _ = write!(mark, ", advantage {advantage:+.2}");
            }
            (mark, answer.completion.clone())
        });
        marked.collect()
    }
}
