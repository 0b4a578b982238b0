//! Rows of the TSV files that VLMEvalKit evaluates on: `index`, `question`, `answer`, `image` and perhaps options.
//!
//! `image` is base64, a list of it, or the `index` of an earlier row whose images are shown again; `image_path` names files
//! instead. Options stand in columns `A`, `B`, ...: such a row is a multiple choice. A `hint` comes before the question.

use std::collections::HashMap;

use reft_core::{Form, ImageRef, Sample, Task};

use super::{Reader, untagged};
use crate::{
    DataError, Location, prompt,
    rows::{Field, Row},
};

/// The images of earlier rows, by index.
pub(super) type Earlier = HashMap<String, Vec<ImageRef>>;

pub(super) fn sample(
    reader: &mut Reader,
    row: &Row,
    location: Location,
    earlier: &mut Earlier,
) -> Result<(Sample, Option<String>), DataError> {
    let (_, index) = reader.required(row, location, &["index"])?;
    let index = index.display().unwrap_or_default();
    let question = reader.text(location, reader.required(row, location, &["question"])?)?;
    let solution = reader.text(location, reader.required(row, location, &["answer", "solution"])?)?;
    let images = reader.images.of_tsv(row, location, earlier)?;
    earlier.insert(index, images.clone());

    // Each under its own letter: the right answer names it, whatever is empty before it.
    let options = ('A'..='Z').filter_map(|letter| {
        let option = row.get(letter.encode_utf8(&mut [0; 4]))?.display()?;
        Some(format!("{letter}. {option}"))
    });
    let options: Vec<String> = options.collect();
    let form = if options.len() < 2 { Form::Open } else { Form::Choice };
    let options = if form == Form::Choice { options.join(" ") } else { String::new() };
    let hint = row.get("hint").and_then(Field::display);
    let asked = [hint.unwrap_or_default(), question, options];
    let asked: Vec<&str> = asked.iter().map(|piece| piece.trim()).filter(|piece| !piece.is_empty()).collect();
    let problem = asked.join(" ");

    let task = reader.task(row, location)?.unwrap_or(Task::Vqa);
    let sample = Sample {
        id: reader.id(row, location),
        task,
        form,
        messages: prompt::with_system(
            reader.system(row, location)?,
            prompt::messages(reader.prompts, task, form, &problem, images),
        ),
        problem,
        solution: untagged(&solution).to_owned(),
        box_frame: reader.config.box_frame.0,
        parent: None,
    };
    Ok((sample, None))
}
