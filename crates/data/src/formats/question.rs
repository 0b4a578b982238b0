//! Rows of a question, its answer and images: Curr-ReFT's own rows and the Hugging Face image layout.
//!
//! The writer's extra columns (`id`, `form`, `parent`, `box_frame`, `completion`) are honoured, so that converted samples
//! and demonstrations come back as they were.

use reft_core::{Form, ImageRef, Sample, SampleId};

use super::{Reader, untagged};
use crate::{
    DataError, Place, prompt,
    rows::{Field, Row},
};

/// Names of the column with the question.
pub(super) const PROBLEM: &[&str] = &["problem", "question", "prompt"];
/// Names of the column with the right answer.
const SOLUTION: &[&str] = &["solution", "answer"];

pub(super) fn sample(
    reader: &mut Reader,
    row: &Row,
    place: Place,
) -> Result<(Sample, Option<String>), DataError> {
    let problem = reader.text(place, reader.required(row, place, PROBLEM)?)?;
    let solution = reader.text(place, reader.required(row, place, SOLUTION)?)?;
    let task = reader.task(row, place)?.ok_or_else(|| {
        reader.fail(place, "names no task; add a column `task` or set `task` of the data set")
    })?;
    let form = match row.get("form") {
        Some(field) => reader.parse(place, "form", field)?,
        None => Form::Open,
    };
    let box_frame = match row.get("box_frame") {
        Some(field) => reader.parse(place, "box_frame", field)?,
        None => reader.config.box_frame.0,
    };
    let images = images(reader, row, place)?;
    let written = match row.get("completion") {
        Some(field) => Some(reader.text(place, ("completion", field))?),
        None => None,
    };
    let sample = Sample {
        id: reader.id(row, place),
        task,
        form,
        messages: prompt::messages(reader.prompts, task, form, &problem, images),
        problem,
        solution: untagged(&solution).to_owned(),
        box_frame,
        parent: row.get("parent").and_then(Field::display).map(SampleId::from),
    };
    Ok((sample, written))
}

/// The images of columns `image` or `images`: one or a list; none for text-only rows.
pub(super) fn images(reader: &mut Reader, row: &Row, place: Place) -> Result<Vec<ImageRef>, DataError> {
    let fields = match row.first(&["images", "image"]) {
        None => return Ok(Vec::new()),
        Some((_, Field::List(fields))) => fields.as_slice(),
        Some((_, field)) => std::slice::from_ref(field),
    };
    fields.iter().map(|field| reader.images.open(field, place)).collect()
}
