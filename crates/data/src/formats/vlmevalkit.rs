//! Rows of the TSV files that VLMEvalKit evaluates on: `index`, `question`, `answer`, `image` and perhaps options.
//!
//! `image` is base64, a list of it, or the `index` of an earlier row whose images are shown again; `image_path` names files
//! instead. Options stand in columns `A`, `B`, ...: such a row is a multiple choice. A `hint` comes before the question.

use std::collections::HashMap;

use reft_core::{Form, ImageRef, Sample, Task};

use super::{Reader, untagged};
use crate::{
    DataError, Place, prompt,
    rows::{Field, Row},
};

/// Longest `image` that names another row.
const LONGEST_INDEX: usize = 64;

/// The images of earlier rows, by index.
pub(super) type Earlier = HashMap<String, Vec<ImageRef>>;

pub(super) fn sample(
    reader: &mut Reader,
    row: &Row,
    place: Place,
    earlier: &mut Earlier,
) -> Result<(Sample, Option<String>), DataError> {
    let (_, index) = reader.required(row, place, &["index"])?;
    let index = index.display().unwrap_or_default();
    let question = reader.text(place, reader.required(row, place, &["question"])?)?;
    let solution = reader.text(place, reader.required(row, place, &["answer", "solution"])?)?;
    let images = images(reader, row, place, earlier)?;
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

    let task = reader.task(row, place)?.unwrap_or(Task::Vqa);
    let sample = Sample {
        id: reader.id(row, place),
        task,
        form,
        messages: prompt::with_system(
            reader.system(row, place)?,
            prompt::messages(reader.prompts, task, form, &problem, images),
        ),
        problem,
        solution: untagged(&solution).to_owned(),
        box_frame: reader.config.box_frame.0,
        parent: None,
    };
    Ok((sample, None))
}

fn images(
    reader: &mut Reader,
    row: &Row,
    place: Place,
    earlier: &Earlier,
) -> Result<Vec<ImageRef>, DataError> {
    if let Some(paths) = row.get("image_path").and_then(Field::text) {
        return list(paths).map(|path| reader.images.open(&Field::Text(path.to_owned()), place)).collect();
    }
    let Some(text) = row.get("image").and_then(Field::text) else { return Ok(Vec::new()) };
    if text.len() <= LONGEST_INDEX
        && let Some(images) = earlier.get(text.trim())
    {
        return Ok(images.clone());
    }
    list(text).map(|encoded| reader.images.base64(encoded, place)).collect()
}

/// The entries of `['a', 'b']` or `["a", "b"]`; a text that is no list is its only entry.
fn list(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let entries = inside.into_iter().flat_map(|inside| inside.split(','));
    let entries =
        entries.map(|entry| entry.trim().trim_matches(['\'', '"'])).filter(|entry| !entry.is_empty());
    entries.chain(inside.is_none().then_some(text))
}
