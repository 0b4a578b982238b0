//! Columns that a format does not read: those that would change the prompt are refused, others are named once.

use std::collections::BTreeSet;

use reft_config::RowFormat;

use super::Reader;
use crate::{DataError, Location, rows::Row};

/// Columns of every format.
const COMMON: &[&str] =
    &["id", "task", "split", "image", "images", "system", "form", "parent", "box_frame", "completion"];

/// Columns of public formats that change what the model is asked, and what to do without them.
const REFUSED: &[(&str, &str)] = &[
    ("tools", "tool calls are not rendered; remove the column, or write the tools into a system turn"),
    ("functions", "tool calls are not rendered; remove the column, or write the tools into a system turn"),
    ("history", "earlier turns belong into `messages` or `conversations`"),
    ("video", "videos are not read; remove the rows, or give frames as images"),
    ("videos", "videos are not read; remove the rows, or give frames as images"),
    ("audio", "sounds are not read; remove the rows"),
    ("audios", "sounds are not read; remove the rows"),
];

/// Columns that a format reads besides [`COMMON`].
fn read_by(format: RowFormat) -> &'static [&'static str] {
    match format {
        RowFormat::CurrReft | RowFormat::HfImage => {
            &["problem", "question", "prompt", "solution", "answer", "ground_truth", "reward_model"]
        }
        RowFormat::Conversations => &["conversations", "solution", "answer", "ground_truth", "reward_model"],
        RowFormat::VlmEvalKit => &["index", "question", "answer", "solution", "hint", "image_path"],
        RowFormat::Messages | RowFormat::Auto => &[
            "messages",
            "prompt",
            "problem",
            "question",
            "solution",
            "answer",
            "ground_truth",
            "reward_model",
            "objects",
        ],
    }
}

/// Names of columns with values that nothing has read.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeSet<String>);

impl Unread {
    /// Looks at the columns of a row. One that changes the prompt and is not read is an error.
    pub(super) fn note(
        &mut self,
        reader: &Reader<'_>,
        row: &Row,
        location: Location,
        format: RowFormat,
    ) -> Result<(), DataError> {
        let is_option = |name: &str| {
            format == RowFormat::VlmEvalKit
                && name.len() == 1
                && name.starts_with(|c: char| c.is_ascii_uppercase())
        };
        for (name, field) in &row.0 {
            let name = &**name;
            if field.is_empty()
                || COMMON.contains(&name)
                || read_by(format).contains(&name)
                || is_option(name)
            {
                continue;
            }
            if let Some((_, advice)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                return Err(reader.fail(location, format!("column `{name}`: {advice}")));
            }
            if name == "objects" {
                return Err(reader.fail(location, "column `objects` is read in rows with `messages` alone"));
            }
            if !self.0.contains(name) {
                self.0.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// What to say about them.
    pub(super) fn say(self) -> Option<String> {
        let names: Vec<String> = self.0.into_iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| format!("columns that are not used: {}", names.join(", ")))
    }
}
