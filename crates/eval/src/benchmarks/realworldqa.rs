//! RealWorldQA: photographs taken from vehicles and elsewhere; options and request stand in the question.
//!
//! Rows: `question`, `answer` (a letter, a word or a number), `image`; TSV with options in columns.

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::{Rules, choice, mmstar::trusted};
use crate::{
    AnswerKind, Asked, Grader, Item, Mark,
    item::{self, required},
};

pub(super) struct RealWorldQa;

impl Rules for RealWorldQa {
    fn source(&self) -> &'static str {
        "VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/realworldqa"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "image_path"]);
        item.options = item::columns(row);
        item.answer = String::from(strip(&required(row, &["answer"])?));
        item.kind = if is_letter(&item.answer) { AnswerKind::Choice } else { AnswerKind::Text };
        Ok(item)
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader != Grader::Lmms {
            return choice::vlmeval(item, output, asked);
        }
        if is_letter(&item.answer) {
            return Ok(trusted(item, output));
        }
        let lower = output.to_lowercase();
        let given = strip(&lower).trim_end_matches('.');
        Ok(Mark::read(given, given == item.answer.to_lowercase()))
    }
}

fn is_letter(answer: &str) -> bool {
    ["A", "B", "C", "D"].contains(&answer.to_uppercase().as_str())
}
