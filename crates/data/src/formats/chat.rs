//! Chat rows: `messages` of `{role, content}`, taken word for word; the prompt template does not apply.
//!
//! Content is text or a list of parts. An image part names a file, holds `{bytes, path}`, base64 or a `data:` URL, or is bare
//! and takes the next image of the row's `images` column; so does a mark `<image>` in a row that has such a column. When the last turn is the assistant's it is the completion to imitate; so is a
//! `completion` column.

use std::collections::VecDeque;

use reft_core::{Form, ImageRef, Message, Part, Role, Sample, SampleId, Task};

use super::{Reader, objects::Objects, question, untagged};
use crate::{
    DataError, Location,
    images::SOURCES,
    prompt::{self, MARK},
    rows::{Field, Row},
};

pub(super) fn sample(
    reader: &mut Reader,
    row: &Row,
    location: Location,
) -> Result<(Sample, Option<String>), DataError> {
    let loose: VecDeque<ImageRef> = reader.images.of_row(row, location)?.into();
    let (_, field) = reader.required(row, location, &["messages", "prompt"])?;
    let turns = field.list().ok_or_else(|| reader.fail(location, "`messages` should be a list"))?;
    if turns.is_empty() {
        return Err(reader.fail(location, "`messages` is empty"));
    }
    let mut filling =
        Filling { has_images: !loose.is_empty(), loose, objects: Objects::of(reader, row, location)? };
    let mut messages: Vec<Message> =
        turns.iter().map(|turn| message(reader, turn, &mut filling, location)).collect::<Result<_, _>>()?;
    if let Some(objects) = filling.objects {
        objects.check_used(reader, location)?;
    }
    let mut loose = filling.loose;
    if !messages.iter().any(|message| message.role == Role::System) {
        messages = prompt::with_system(reader.system(row, location)?, messages);
    }
    // Images that no part and no mark asked for stand before the first question.
    if let Some(user) = messages.iter_mut().find(|m| m.role == Role::User) {
        user.content.splice(0..0, loose.drain(..).map(Part::Image));
    }

    let column = match row.get("completion") {
        Some(field) => Some(reader.text(location, ("completion", field))?),
        None => None,
    };
    let reply = messages.last().filter(|m| m.role == Role::Assistant).map(text_of);
    // Some writers repeat the last turn in a column.
    if reply.is_some() && (column.is_none() || column == reply) {
        messages.pop();
    }
    let written = column.or(reply);
    let Some(user) = messages.iter().rev().find(|m| m.role == Role::User) else {
        return Err(reader.fail(location, "no turn of the user"));
    };

    let problem = match row.first(question::PROBLEM) {
        Some((_, Field::Text(problem))) => problem.clone(),
        Some(_) | None => text_of(user),
    };
    let solution = match (question::solution(row), &written) {
        (Some(column), _) => reader.solution(location, column, reader.task(row, location)?)?,
        (None, Some(written)) => last_answer(written).to_owned(),
        (None, None) => String::new(),
    };
    let form = match row.get("form") {
        Some(field) => reader.parse(location, "form", field)?,
        None => Form::Open,
    };
    let box_frame = match row.get("box_frame") {
        Some(field) => reader.parse(location, "box_frame", field)?,
        None => reader.config.box_frame.0,
    };
    let sample = Sample {
        id: reader.id(row, location),
        task: reader.task(row, location)?.unwrap_or(Task::Vqa),
        form,
        problem,
        messages,
        solution: untagged(&solution).to_owned(),
        box_frame,
        parent: row.get("parent").and_then(Field::display).map(SampleId::from),
    };
    Ok((sample, written))
}

/// What the marks of a chat stand for.
struct Filling<'a> {
    /// Whether the row has a column of images, so that `<image>` is a mark.
    has_images: bool,
    /// Images of that column that no mark has asked for yet.
    loose: VecDeque<ImageRef>,
    objects: Option<Objects<'a>>,
}

fn message(
    reader: &mut Reader,
    turn: &Field,
    filling: &mut Filling<'_>,
    location: Location,
) -> Result<Message, DataError> {
    let Field::Struct(turn) = turn else {
        return Err(reader.fail(location, "a message should be an object with `role` and `content`"));
    };
    let role = match turn.get("role") {
        Some(field) => reader.parse(location, "role", field)?,
        None => return Err(reader.fail(location, "a message has no `role`")),
    };
    let content = match turn.get("content") {
        Some(Field::Text(text)) => marked(reader, text, filling, location)?,
        Some(Field::List(parts)) => {
            parts.iter().map(|field| part(reader, field, filling, location)).collect::<Result<_, _>>()?
        }
        _ => {
            let message = "`content` of a message should be text or a list of parts";
            return Err(reader.fail(location, message));
        }
    };
    Ok(Message { role, content })
}

/// Text whose `<image>` marks stand for the images of the row's `images` column, as flat chat tables have it. Without
/// such images the marks are plain text.
fn marked(
    reader: &Reader,
    text: &str,
    filling: &mut Filling<'_>,
    location: Location,
) -> Result<Vec<Part>, DataError> {
    let filled = match &mut filling.objects {
        Some(objects) => objects.fill(reader, text, location)?,
        None => text.to_owned(),
    };
    let mut content = Vec::new();
    let mut rest = filled.as_str();
    while let Some((before, after)) = rest.split_once(MARK).filter(|_| filling.has_images) {
        let image = filling.loose.pop_front();
        let image = image.ok_or_else(|| reader.fail(location, format!("more {MARK} than images")))?;
        if !before.trim().is_empty() {
            content.push(Part::Text(before.to_owned()));
        }
        content.push(Part::Image(image));
        rest = after;
    }
    if !rest.is_empty() || content.is_empty() {
        content.push(Part::Text(rest.to_owned()));
    }
    Ok(content)
}

fn part(
    reader: &mut Reader,
    field: &Field,
    filling: &mut Filling<'_>,
    location: Location,
) -> Result<Part, DataError> {
    let Field::Struct(part) = field else {
        return Err(reader.fail(location, "a part should be an object with `type`"));
    };
    match part.get("type").and_then(Field::text) {
        Some("text") => match part.get("text").and_then(Field::text) {
            Some(text) => match &mut filling.objects {
                Some(objects) => objects.fill(reader, text, location).map(Part::Text),
                None => Ok(Part::Text(text.to_owned())),
            },
            None => Err(reader.fail(location, "a text part has no `text`")),
        },
        Some("image" | "image_url" | "input_image") => {
            match part.get("bytes").or(part.first(&SOURCES).map(|(_, image)| image)) {
                Some(_) => reader.images.open(field, location).map(Part::Image),
                None => filling
                    .loose
                    .pop_front()
                    .map(Part::Image)
                    .ok_or_else(|| reader.fail(location, "an image part has no `image`")),
            }
        }
        other => Err(reader
            .fail(location, format!("`type` of a part should be text, image or image_url and is {other:?}"))),
    }
}

fn text_of(message: &Message) -> String {
    let texts: Vec<&str> = message
        .content
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) => None,
        })
        .collect();
    texts.join(" ").trim().to_owned()
}

/// What stands in the last answer block; the whole text when there is none.
fn last_answer(completion: &str) -> &str {
    completion
        .rsplit_once("<answer>")
        .and_then(|(_, rest)| rest.split_once("</answer>"))
        .map_or(completion, |(answer, _)| answer)
        .trim()
}
