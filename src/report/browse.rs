//! The questions of a report: groups of some steps with all their answers, and questions that were asked before and after.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use reft_config::{PhaseConfig, Recipe};
use reft_core::{BoxFrame, ImageRef, ImageSize, PixelBudget};
use reft_reward::parse_boxes;
use reft_store::RunReader;
use reft_vlm::{model::VlmConfig, processor::ImageProcessor};
use serde::Serialize;

use crate::{
    Error,
    examples::{Answer, Pictures, bytes_of, compare_with, mime_of},
    step::{StepAnswers, answers_in},
};

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Browse {
    /// Groups of a step.
    pub(super) groups: usize,
    /// Steps of a phase, evenly spaced, the first and the last among them.
    pub(super) steps: usize,
    /// Questions that were asked before and after.
    pub(super) changes: usize,
}

/// Bytes of pictures that a page holds; later ones are named only.
const MOST_BYTES: usize = 24 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) groups: Vec<Group>,
    pub(super) changes: Vec<Changed>,
    pub(super) images: BTreeMap<String, String>,
}

/// Corners in fractions of the picture's sides: left, top, right, bottom.
type Corners = [f64; 4];

/// A question of a step with all its answers.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    phase: String,
    step: u64,
    sample: String,
    task: String,
    form: String,
    prompt: String,
    solution: String,
    /// `admit`, or why not.
    verdict: String,
    image: Option<String>,
    r#box: Option<Corners>,
    answers: Vec<GroupAnswer>,
}

/// An answer.
#[derive(Debug, Serialize)]
struct GroupAnswer {
    text: String,
    tokens: u64,
    is_cut: bool,
    reward: Option<f64>,
    parts: Vec<(String, f64)>,
    advantage: Option<f64>,
    r#box: Option<Corners>,
}

/// A question that two evaluations asked.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    sample: String,
    task: String,
    prompt: String,
    solution: String,
    image: Option<String>,
    r#box: Option<Corners>,
    /// Phase, text, whether it is right, box; the earlier one first.
    answers: [(String, String, bool, Option<Corners>); 2],
}

impl Browse {
    /// Looks through a run.
    pub(super) fn of(self, run: &Path, reader: &RunReader, recipe: Option<&Recipe>) -> Result<Found, Error> {
        let mut look = Look {
            pictures: Pictures::of_run(run)?,
            frames: Frames::of(recipe),
            images: BTreeMap::new(),
            bytes: 0,
        };
        let mut found = Found::default();
        for phase in &reader.info().phases {
            let data = look.pictures.data_of(phase).unwrap_or_default();
            for file in spread(&reader.completions(phase)?, self.steps) {
                let shown = answers_in(reader, phase, file);
                found.groups.extend(look.groups(shown, &data, self.groups));
            }
        }
        for compared in compare_with(reader, run, self.changes)? {
            let question = &compared.before.1;
            let key = compared.picture.as_ref().and_then(|image| look.show(&question.picture, image));
            let size = compared.picture.as_ref().map(|image| image.size);
            let answer = |(phase, answer): &(String, Answer)| {
                let corners = look.frames.answered(phase, &answer.completion, size);
                (phase.clone(), answer.completion.clone(), answer.right == Some(true), corners)
            };
            found.changes.push(Changed {
                r#box: look.frames.first_box(&question.solution, compared.box_frame, size),
                answers: [answer(&compared.before), answer(&compared.after)],
                sample: question.sample.clone(),
                task: question.task.clone(),
                prompt: question.prompt.clone(),
                solution: question.solution.clone(),
                image: key,
            });
        }
        found.images = look.images;
        Ok(found)
    }
}

/// At most `n` of the files, evenly spaced, with the first and the last.
fn spread(files: &[PathBuf], n: usize) -> Vec<&Path> {
    let n = n.min(files.len());
    (0..n).map(|i| files[i * (files.len() - 1) / (n - 1).max(1)].as_path()).collect()
}

/// What is looked up for every question.
struct Look {
    pictures: Pictures,
    frames: Frames,
    images: BTreeMap<String, String>,
    bytes: usize,
}

impl Look {
    fn groups(&mut self, step: StepAnswers, data: &str, most: usize) -> Vec<Group> {
        let StepAnswers { phase, step, groups } = step;
        let of = |group: crate::step::GroupAnswers| {
            let (picture, frame) = self.pictures.find(data, &group.picture).unzip();
            let size = picture.as_ref().map(|image| image.size);
            let answers = group.answers.into_iter().map(|answer| GroupAnswer {
                r#box: self.frames.answered(&phase, &answer.completion, size),
                text: answer.completion,
                tokens: answer.tokens,
                is_cut: answer.is_cut,
                reward: answer.reward,
                parts: answer.parts,
                advantage: answer.advantage,
            });
            Group {
                answers: answers.collect(),
                r#box: self.frames.first_box(&group.solution, frame.unwrap_or_default(), size),
                image: picture.and_then(|image| self.show(&group.picture, &image)),
                phase: phase.clone(),
                step,
                sample: group.sample,
                task: group.task,
                form: group.form,
                prompt: group.prompt,
                solution: group.solution,
                verdict: group.verdict,
            }
        };
        groups.into_iter().take(most).map(of).collect()
    }

    /// Puts a picture on the page and returns its key; none where its file is gone or the page is full.
    fn show(&mut self, sample: &str, image: &ImageRef) -> Option<String> {
        if !self.images.contains_key(sample) {
            let bytes = bytes_of(image).ok()?;
            if self.bytes + bytes.len() > MOST_BYTES {
                return None;
            }
            self.bytes += bytes.len();
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            self.images.insert(sample.to_owned(), format!("data:{};base64,{text}", mime_of(&bytes)));
        }
        Some(sample.to_owned())
    }
}

/// What the numbers of answered boxes mean, by phase.
struct Frames {
    by_phase: BTreeMap<String, BoxFrame>,
    budget: Option<PixelBudget>,
}

impl Frames {
    fn of(recipe: Option<&Recipe>) -> Self {
        let phases = recipe.into_iter().flat_map(|recipe| &recipe.phase);
        let frame = |phase: &PhaseConfig| match phase {
            PhaseConfig::Grpo(phase) => Some(phase.reward.answer_frame.0),
            PhaseConfig::Reject(phase) => Some(phase.reward.answer_frame.0),
            PhaseConfig::Eval(phase) => Some(phase.reward.answer_frame.0),
            PhaseConfig::Sft(_) => None,
        };
        Self {
            by_phase: phases.filter_map(|phase| Some((phase.name().to_owned(), frame(phase)?))).collect(),
            budget: recipe.and_then(|recipe| {
                let model = &recipe.model;
                let config = VlmConfig::open(&model.path).ok()?;
                let images = ImageProcessor::open(&model.path, &config, model.min_pixels, model.max_pixels);
                images.ok()?.budget()
            }),
        }
    }

    /// The first box of an answer.
    fn answered(&self, phase: &str, completion: &str, size: Option<ImageSize>) -> Option<Corners> {
        let answer = completion.rsplit_once("<answer>").map_or(completion, |(_, answer)| answer);
        let answer = answer.split_once("</answer>").map_or(answer, |(answer, _)| answer);
        self.first_box(answer, *self.by_phase.get(phase)?, size)
    }

    /// The first box of a text whose numbers are in a frame.
    fn first_box(&self, text: &str, frame: BoxFrame, size: Option<ImageSize>) -> Option<Corners> {
        let size = size?;
        let resized = self.budget.as_ref().and_then(|budget| Some(budget.grid(size).ok()?.resized));
        corners(text, frame.scale(size, resized).ok()?, size)
    }
}

fn corners(text: &str, scale: (f64, f64), size: ImageSize) -> Option<Corners> {
    let found = parse_boxes(text)?.first()?.bbox.scaled(scale);
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let corners = [found.x1 / width, found.y1 / height, found.x2 / width, found.y2 / height];
    // What lies far outside would only stretch the page.
    corners.iter().all(|corner| (-1.0..=2.0).contains(corner)).then_some(corners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_spread_with_both_ends() {
        let files: Vec<PathBuf> = (1..=9).map(|i| PathBuf::from(i.to_string())).collect();
        let names =
            |n| spread(&files, n).into_iter().map(|p| p.to_string_lossy().into_owned()).collect::<Vec<_>>();
        assert_eq!(names(3), ["1", "5", "9"]);
        assert_eq!(names(1), ["1"]);
        assert_eq!(names(20).len(), 9);
        assert!(spread(&[], 3).is_empty());
    }

    #[test]
    fn boxes_are_fractions_of_the_picture() {
        let size = ImageSize { width: 200, height: 100 };
        let frames = Frames { by_phase: [("p".to_owned(), BoxFrame::Thousand)].into(), budget: None };
        let text = "<think>[1, 2, 3, 4]</think><answer>{\"bbox_2d\": [100, 200, 500, 1000]}</answer>";
        assert_eq!(frames.answered("p", text, Some(size)), Some([0.1, 0.2, 0.5, 1.0]));
        let unit = frames.first_box("[0.1, 0.1, 0.2, 0.5]", BoxFrame::Unit, Some(size));
        assert_eq!(unit, Some([0.1, 0.1, 0.2, 0.5]));
        assert_eq!(frames.answered("q", text, Some(size)), None);
        assert_eq!(frames.answered("p", text, None), None);
        assert_eq!(
            frames.first_box("[20, 10, 40, 50]", BoxFrame::Original, Some(size)),
            Some([0.1, 0.1, 0.2, 0.5])
        );
        assert_eq!(frames.first_box("[20, 10, 40000, 50]", BoxFrame::Original, Some(size)), None);
    }
}
