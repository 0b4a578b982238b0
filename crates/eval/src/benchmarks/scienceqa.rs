//! ScienceQA: school science, the questions that have a picture.
//!
//! Rows: `question`, `choices`, `answer` (a number), `hint`, `subject`, `topic`, `category`; TSV with options in columns.

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::{Rules, ai2d::by_number, choice};
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark,
    item::{self, required},
};

pub(super) struct ScienceQa;

impl Rules for ScienceQa {
    fn source(&self) -> &'static str {
        "VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/scienceqa"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id"]);
        item.options = item::options(row);
        item.answer = by_number(&item.options, &required(row, &["answer"])?)?;
        item.kind = AnswerKind::Choice;
        Ok(item)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["subject", "topic", "category", "l2-category", "grade"]
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match (harness, item.text("hint").filter(|hint| !hint.is_empty())) {
            (Harness::Lmms, Some(hint)) => format!("Context: {hint}\n{}", choice::prompt(item, harness)),
            _ => choice::prompt(item, harness),
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader == Grader::Lmms {
            return Ok(lmms(item, output));
        }
        choice::vlmeval(item, output, asked)
    }
}

/// The letter alone, or a capital and a full stop at the start.
fn lmms(item: &Item, output: &str) -> Mark {
    let output = strip(output);
    let mut chars = output.chars();
    let taken = match (chars.next(), chars.next()) {
        (Some(letter), Some('.')) if letter.is_uppercase() => letter.to_string(),
        _ => output.to_owned(),
    };
    let right = taken.to_lowercase() == item.answer.to_lowercase();
    Mark::read(taken, right)
}
