//! Rows of a question, its answer and images: Curr-ReFT's own rows and the Hugging Face image layout.
//!
//! The writer's extra columns (`id`, `form`, `parent`, `box_frame`, `completion`) are honoured, so that converted samples
//! and demonstrations come back as they were.

use reft_core::{Form, Sample, SampleId};

use super::{Reader, untagged};
use crate::{
    DataError, Location,
    prompt::{self, MARK},
    rows::{Field, Row},
};

/// Names of the column with the question.
pub(super) const PROBLEM: &[&str] = &["problem", "question", "prompt"];
/// Names of the column with the right answer.
const SOLUTION: &[&str] = &["solution", "answer", "ground_truth"];

/// The right answer of a row; verl keeps it in `reward_model`.
pub(super) fn solution(row: &Row) -> Option<(&str, &Field)> {
    row.first(SOLUTION).or_else(|| match row.get("reward_model") {
        Some(Field::Struct(inner)) => inner.first(SOLUTION),
        _ => None,
    })
}

pub(super) fn sample(
    reader: &mut Reader,
    row: &Row,
    location: Location,
) -> Result<(Sample, Option<String>), DataError> {
    let problem = reader.text(location, reader.required(row, location, PROBLEM)?)?;
    let solution = match solution(row) {
        Some(column) => column,
        None => reader.required(row, location, SOLUTION)?,
    };
    let task = reader.task(row, location)?.ok_or_else(|| {
        reader.fail(location, "names no task; add a column `task` or set `task` of the data set")
    })?;
    let solution = reader.solution(location, solution, Some(task))?;
    let form = match row.get("form") {
        Some(field) => reader.parse(location, "form", field)?,
        None => Form::Open,
    };
    let box_frame = match row.get("box_frame") {
        Some(field) => reader.parse(location, "box_frame", field)?,
        None => reader.config.box_frame.0,
    };
    let images = reader.images.of_row(row, location)?;
    let written = match row.get("completion") {
        Some(field) => Some(reader.text(location, ("completion", field))?),
        None => None,
    };
    // Without images a mark is text; with them it says where they stand (EasyR1's rows).
    let marks = if images.is_empty() { 0 } else { problem.matches(MARK).count() };
    if marks > 0 && marks != images.len() {
        return Err(reader.fail(location, format!("{marks} times {MARK} for {} images", images.len())));
    }
    let (problem, messages) = if marks > 0 {
        let messages = prompt::messages_at_marks(reader.prompts, task, form, &problem, images);
        (problem.replace(MARK, " ").trim().to_owned(), messages)
    } else {
        let messages = prompt::messages(reader.prompts, task, form, &problem, images);
        (problem, messages)
    };
    let sample = Sample {
        id: reader.id(row, location),
        task,
        form,
        messages: prompt::with_system(reader.system(row, location)?, messages),
        problem,
        solution: untagged(&solution).to_owned(),
        box_frame,
        parent: row.get("parent").and_then(Field::display).map(SampleId::from),
    };
    Ok((sample, written))
}
