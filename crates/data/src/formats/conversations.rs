//! LLaVA's rows, also VLM-R1's: `conversations` of `{from, value}` with `<image>` where an image belongs.
//!
//! A single exchange is a question with its solution and gets the prompt template, as VLM-R1 trains on it.
//! A longer conversation is taken word for word. Either way the last reply can be imitated.

use reft_core::{Form, ImageRef, Message, Part, Role, Sample};

use super::{Reader, question, untagged};
use crate::{
    DataError, Location,
    prompt::{self, MARK},
    rows::{Field, Row},
};

pub(super) fn sample(
    reader: &mut Reader,
    row: &Row,
    location: Location,
) -> Result<(Sample, Option<String>), DataError> {
    let mut turns = turns(reader, row, location)?;
    let images = reader.images.of_row(row, location)?;
    let reply = match turns.pop() {
        Some((Role::Assistant, reply)) => Some(reply),
        Some(turn) => {
            turns.push(turn);
            None
        }
        None => return Err(reader.fail(location, "`conversations` is empty")),
    };
    if reply.as_ref().is_some_and(|reply| reply.contains(MARK)) {
        return Err(reader.fail(location, format!("{MARK} in a reply: a model writes no images")));
    }

    let (messages, image_list) = fill(reader, location, &turns, images)?;
    let problem = match turns.last() {
        Some((Role::User, text)) => text.replace(MARK, " ").trim().to_owned(),
        _ => return Err(reader.fail(location, "no question before the last reply")),
    };
    let solution = match (question::solution(row), &reply) {
        (Some(column), _) => reader.solution(location, column, reader.task(row, location)?)?,
        (None, Some(reply)) => reply.clone(),
        (None, None) => {
            return Err(reader.fail(location, "ends without a reply and has no `solution` column"));
        }
    };
    let task = reader.task(row, location)?.ok_or_else(|| {
        reader.fail(location, "names no task; add a column `task` or set `task` of the data set")
    })?;
    let system = match messages.first().filter(|message| message.role == Role::System) {
        Some(turn) => Some(turn.clone()),
        None => reader.system(row, location)?,
    };
    let is_single = messages.iter().filter(|message| message.role != Role::System).count() == 1;
    let messages = if is_single {
        prompt::messages(reader.prompts, task, Form::Open, &problem, image_list)
    } else {
        messages
    };
    let sample = Sample {
        id: reader.id(row, location),
        task,
        form: Form::Open,
        problem,
        messages: prompt::with_system(system, messages),
        solution: untagged(&solution).to_owned(),
        box_frame: reader.config.box_frame.0,
        parent: None,
    };
    Ok((sample, reply))
}

fn turns(reader: &Reader, row: &Row, location: Location) -> Result<Vec<(Role, String)>, DataError> {
    let (_, field) = reader.required(row, location, &["conversations"])?;
    let fail = |message: &str| reader.fail(location, message);
    let list = field.list().ok_or_else(|| fail("`conversations` should be a list"))?;
    list.iter()
        .map(|turn| {
            let Field::Struct(turn) = turn else {
                return Err(fail("a turn should be an object with `from` and `value`"));
            };
            let role = match turn.get("from").and_then(Field::text) {
                Some("human" | "user") => Role::User,
                Some("gpt" | "assistant") => Role::Assistant,
                Some("system") => Role::System,
                other => {
                    return Err(fail(&format!("`from` should be human, gpt or system and is {other:?}")));
                }
            };
            let value =
                turn.get("value").and_then(Field::text).ok_or_else(|| fail("a turn has no `value`"))?;
            Ok((role, value.to_owned()))
        })
        .collect()
}

/// Puts the images where the marks are; without any mark they stand before the first question.
fn fill(
    reader: &Reader,
    location: Location,
    turns: &[(Role, String)],
    images: Vec<ImageRef>,
) -> Result<(Vec<Message>, Vec<ImageRef>), DataError> {
    let marks: usize = turns.iter().map(|(_, text)| text.matches(MARK).count()).sum();
    if marks != images.len() && marks > 0 {
        return Err(reader.fail(location, format!("{marks} times {MARK} for {} images", images.len())));
    }
    let all = images.clone();
    let mut images = images.into_iter();
    let mut messages = Vec::with_capacity(turns.len());
    for (role, text) in turns {
        if *role != Role::User && text.contains(MARK) {
            return Err(reader.fail(location, format!("{MARK} outside the user's turns")));
        }
        let mut content: Vec<Part> = Vec::new();
        if marks == 0 && *role == Role::User {
            content.extend(images.by_ref().map(Part::Image));
        }
        content.extend(prompt::at_marks(text, &mut images));
        messages.push(Message { role: *role, content });
    }
    Ok((messages, all))
}
