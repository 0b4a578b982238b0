//! What the loops record, as tables: completions, predictions, kept answers.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, StringArray, StructArray},
    datatypes::{DataType, Field},
};
use reft_core::{
    Completion, FinishReason, GradedGroup, Group, ImageRef, ImageSource, JudgedGroup, KeptAnswer, Message,
    Part, Role, Sample, SampleId, ScoredGroup, Verdict,
};
use serde_json::{Value, json};

use crate::{
    StoreError, disk,
    table::{Table, list},
};

/// Bytes of images, and rows, that a row group of kept answers has: it is in memory when it is written.
const CHUNK_BYTES: u64 = 64 << 20;
const CHUNK_ROWS: usize = 4096;

/// `completions/<phase>/step_000010.parquet` of a reinforcement learning step.
pub(crate) fn write_scored(path: &Path, groups: &[ScoredGroup]) -> Result<(), StoreError> {
    let mut table = answers(groups.iter().map(|scored| &scored.group));
    let each = || {
        groups.iter().flat_map(|scored| {
            (0..scored.group.completions.len()).map(move |i| (scored, &scored.rewards[i], i))
        })
    };
    table.float("reward", each().map(|(_, reward, _)| Some(reward.total)));
    let parts: BTreeSet<&str> =
        each().flat_map(|(_, reward, _)| &reward.parts).map(|(name, _)| name.as_str()).collect();
    for part in parts {
        let values = each().map(|(_, reward, _)| reward.part(part));
        table.float(&format!("reward_{part}"), values);
    }
    table.text("outcome", each().map(|(_, reward, _)| Some(reward.outcome.as_str())));
    table.text("outcome_reason", each().map(|(_, reward, _)| reward.outcome.reason()));
    table.float("advantage", each().map(|(scored, _, i)| scored.advantages.get(i).copied()));
    verdicts(&mut table, || each().map(|(scored, _, _)| &scored.verdict));
    table.write(path)
}

/// `completions/<phase>/step_000010.parquet` of a rejection chunk.
pub(crate) fn write_judged(path: &Path, groups: &[(JudgedGroup, Vec<Verdict>)]) -> Result<(), StoreError> {
    let mut table = answers(groups.iter().map(|(judged, _)| &judged.group));
    let judgements = || groups.iter().flat_map(|(judged, _)| &judged.judgements);
    table.float("score", judgements().map(|judgement| Some(judgement.score)));
    table.text("judgement", judgements().map(|j| Some(&j.reason)));
    verdicts(&mut table, || groups.iter().flat_map(|(_, verdicts)| verdicts));
    table.write(path)
}

/// `eval/<phase>/<benchmark>/predictions.parquet`.
pub(crate) fn write_graded(path: &Path, graded: &[GradedGroup]) -> Result<(), StoreError> {
    let mut table = answers(graded.iter().map(|graded| &graded.group));
    let marks = || graded.iter().flat_map(|graded| &graded.marks);
    table.float("grade", marks().map(|mark| Some(mark.score)));
    table.text("answer", marks().map(|mark| mark.answer.as_deref()));
    table.text("reason", marks().map(|mark| Some(mark.reason.as_str())));
    table.text("judge", marks().map(|mark| mark.replies.last().map(String::as_str)));
    table.write(path)
}

/// The columns that every table of answers starts with: one row per completion.
fn answers<'a>(groups: impl Iterator<Item = &'a Group> + Clone) -> Table {
    let each = || {
        groups.clone().flat_map(|group| {
            let completions = group.completions.iter().enumerate();
            completions.map(move |(i, completion)| (group, i, completion))
        })
    };
    let sample = || each().map(|(group, _, _)| group.sample.as_ref());
    let completion = || each().map(|(_, _, completion)| completion);

    let mut table = Table::default();
    table.text("sample", sample().map(|s| Some(s.id.as_str())));
    table.text("parent", sample().map(|s| s.parent.as_ref().map(SampleId::as_str)));
    table.text("task", sample().map(|s| Some(s.task.as_str())));
    table.text("form", sample().map(|s| Some(s.form.as_str())));
    table.text("prompt", sample().map(|s| Some(prompt_text(s))));
    table.texts("images", sample().map(image_labels));
    table.text("solution", sample().map(|s| Some(&s.solution)));
    table.count("index", each().map(|(_, i, _)| i));
    table.text("completion", completion().map(|c| Some(&c.text)));
    table.text("finish", completion().map(|c| Some(finish_name(c.finish))));
    table.flag("think_opened", completion().map(|c| c.think_opened));
    table.count("tokens", completion().map(|c| c.token_ids.len()));
    table.count("prompt_tokens", each().map(|(group, _, _)| group.prompt_tokens));
    table.float("logprob_mean", completion().map(mean_logprob));
    table.number("policy_version", each().map(|(group, _, _)| group.policy_version));
    table
}

fn verdicts<'a, I: Iterator<Item = &'a Verdict>>(table: &mut Table, each: impl Fn() -> I) {
    table.text(
        "verdict",
        each().map(|verdict| {
            Some(match verdict {
                Verdict::Admit => "admit",
                Verdict::Reject { .. } => "reject",
            })
        }),
    );
    table.text(
        "reason",
        each().map(|verdict| match verdict {
            Verdict::Admit => None,
            Verdict::Reject { reason } => Some(reason),
        }),
    );
}

/// The prompt as one text: `<image>` where an image stands, roles only where there is more than one turn.
fn prompt_text(sample: &Sample) -> String {
    let turns: Vec<String> = sample
        .messages
        .iter()
        .map(|message| {
            let text = flat_text(message);
            if sample.messages.len() == 1 { text } else { format!("{}: {text}", role_name(message.role)) }
        })
        .collect();
    turns.join("\n")
}

fn flat_text(message: &Message) -> String {
    let parts = message.content.iter().map(|part| match part {
        Part::Text(text) => text.as_str(),
        Part::Image(_) => "<image>",
    });
    parts.collect()
}

fn image_labels(sample: &Sample) -> Vec<String> {
    sample.images().map(|image| image.label.to_string()).collect()
}

fn mean_logprob(completion: &Completion) -> Option<f32> {
    let n = completion.logprobs.len();
    (n > 0).then(|| completion.logprobs.iter().sum::<f32>() / n as f32)
}

fn finish_name(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// `rejection/<phase>/kept.jsonl` and `kept.parquet`: the same rows, as chats that end in the kept answer.
/// The Parquet file holds the images' bytes and is a data set by itself.
pub(crate) fn write_kept(dir: &Path, groups: &[(JudgedGroup, Vec<Verdict>)]) -> Result<(), StoreError> {
    let rows = kept_rows(groups);
    let mut lines = String::new();
    for row in &rows {
        lines.push_str(&kept_json(row).to_string());
        lines.push('\n');
    }
    let jsonl = dir.join("kept.jsonl");
    disk::replace_synced(&jsonl, lines.as_bytes())?;

    let path = dir.join("kept.parquet");
    let chunks = chunks(&rows);
    // Without a row there is a file all the same, with the columns.
    let chunks = if chunks.is_empty() { vec![&rows[..]] } else { chunks };
    Table::write_all(&path, chunks.into_iter().map(|rows| kept_table(rows, &path)))
}

/// Rows whose images are held together.
fn chunks<'a, 'b>(rows: &'b [KeptRow<'a>]) -> Vec<&'b [KeptRow<'a>]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, row) in rows.iter().enumerate() {
        let of_row: u64 = row.sample.images().map(|image| image.source.bytes_to_hold()).sum();
        if i > start && (bytes + of_row > CHUNK_BYTES || i - start == CHUNK_ROWS) {
            chunks.push(&rows[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += of_row;
    }
    if start < rows.len() {
        chunks.push(&rows[start..]);
    }
    chunks
}

fn kept_table(rows: &[KeptRow<'_>], path: &Path) -> Result<Table, StoreError> {
    let sample = || rows.iter().map(|row| row.sample);
    let mut table = Table::default();
    table.text("sample", sample().map(|s| Some(s.id.as_str())));
    table.text("task", sample().map(|s| Some(s.task.as_str())));
    table.text("form", sample().map(|s| Some(s.form.as_str())));
    table.text("problem", sample().map(|s| Some(&s.problem)));
    table.text("solution", sample().map(|s| Some(&s.solution)));
    table.column("messages", messages_column(rows));
    let images = images_column(rows).map_err(StoreError::io("read images for", path))?;
    table.column("images", images);
    table.text("completion", rows.iter().map(|row| Some(&row.answer.completion)));
    table.float("score", rows.iter().map(|row| Some(row.answer.score)));
    table.text("reason", rows.iter().map(|row| Some(&row.answer.reason)));
    Ok(table)
}

struct KeptRow<'a> {
    sample: &'a Sample,
    answer: KeptAnswer,
}

fn kept_rows(groups: &[(JudgedGroup, Vec<Verdict>)]) -> Vec<KeptRow<'_>> {
    groups
        .iter()
        .flat_map(|(judged, verdicts)| {
            let answers = judged.group.completions.iter().zip(&judged.judgements);
            let kept = answers.zip(verdicts).filter(|(_, v)| **v == Verdict::Admit);
            kept.map(|((completion, judgement), _)| KeptRow {
                sample: &judged.group.sample,
                answer: KeptAnswer {
                    sample: judged.group.sample.id.clone(),
                    completion: completion.text.clone(),
                    score: judgement.score,
                    reason: judgement.reason.clone(),
                },
            })
        })
        .collect()
}

/// The fields of [`KeptAnswer`] and the chat. Images appear by their label.
fn kept_json(row: &KeptRow<'_>) -> Value {
    let turns = row.sample.messages.iter().map(|message| {
        let parts = message.content.iter().map(|part| match part {
            Part::Text(text) => json!({"type": "text", "text": text}),
            Part::Image(image) => json!({"type": "image", "image": image.label.as_ref()}),
        });
        json!({"role": role_name(message.role), "content": parts.collect::<Vec<_>>()})
    });
    let answer = json!({"role": "assistant", "content": row.answer.completion});
    json!({
        "sample": row.sample.id,
        "task": row.sample.task.as_str(),
        "form": row.sample.form.as_str(),
        "solution": row.sample.solution,
        "messages": turns.chain([answer]).collect::<Vec<_>>(),
        "completion": row.answer.completion,
        "score": row.answer.score,
        "reason": row.answer.reason,
    })
}

/// `list<struct<role, content>>`, `<image>` where an image stands.
fn messages_column(rows: &[KeptRow<'_>]) -> ArrayRef {
    let turns = |row: &KeptRow<'_>| -> Vec<(&'static str, String)> {
        let prompt = row.sample.messages.iter();
        let mut turns: Vec<_> = prompt.map(|message| (role_name(message.role), flat_text(message))).collect();
        turns.push(("assistant", row.answer.completion.clone()));
        turns
    };
    let all: Vec<Vec<(&str, String)>> = rows.iter().map(turns).collect();
    let roles: StringArray = all.iter().flatten().map(|(role, _)| Some(*role)).collect();
    let contents: StringArray = all.iter().flatten().map(|(_, text)| Some(text)).collect();
    let items = StructArray::from(vec![
        field("role", DataType::Utf8, Arc::new(roles)),
        field("content", DataType::Utf8, Arc::new(contents)),
    ]);
    list(all.iter().map(Vec::len), Arc::new(items))
}

/// `list<struct<bytes, path>>`, as on the Hugging Face hub.
fn images_column(rows: &[KeptRow<'_>]) -> std::io::Result<ArrayRef> {
    let images: Vec<Vec<&ImageRef>> = rows.iter().map(|row| row.sample.images().collect()).collect();
    let bytes = images.iter().flatten().map(|image| match &image.source {
        ImageSource::Path(_) => Ok(None),
        source => source.read().map(Some),
    });
    let bytes = bytes.collect::<std::io::Result<Vec<_>>>()?;
    let bytes: BinaryArray = bytes.iter().map(|bytes| bytes.as_deref()).collect();
    let paths: StringArray = images
        .iter()
        .flatten()
        .map(|image| {
            Some(match &image.source {
                ImageSource::Path(path) => path.display().to_string(),
                ImageSource::Bytes(_) | ImageSource::Stored(_) => image.label.to_string(),
            })
        })
        .collect();
    let items = StructArray::from(vec![
        field("bytes", DataType::Binary, Arc::new(bytes)),
        field("path", DataType::Utf8, Arc::new(paths)),
    ]);
    Ok(list(images.iter().map(Vec::len), Arc::new(items)))
}

fn field(name: &str, data_type: DataType, column: ArrayRef) -> (Arc<Field>, ArrayRef) {
    (Arc::new(Field::new(name, data_type, true)), column)
}

/// The rows of `kept.jsonl`.
pub(crate) fn read_kept(dir: &Path) -> Result<Vec<KeptAnswer>, StoreError> {
    let path = dir.join("kept.jsonl");
    let bytes = disk::read(&path)?;
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(i, line)| {
            serde_json::from_slice(line).map_err(|error| StoreError::Damaged {
                path: path.clone(),
                reason: format!("line {}: {error}", i + 1),
            })
        })
        .collect()
}
