//! AI2D: diagrams of science lessons, four options.
//!
//! Rows: `question`, `options`, `answer` ("0" to "3"), `image`; TSV with options in columns and a letter. Two files, with
//! and without masks, are two benchmarks.

use std::sync::LazyLock;

use reft_core::StageError;
use regex::Regex;
use serde_json::{Map, Value};

use super::{Rules, choice};
use crate::{
    AnswerKind, Asked, Grader, Item, Mark,
    item::{self, required},
    reading::pattern,
};

pub(super) struct Ai2d;

impl Rules for Ai2d {
    fn source(&self) -> &'static str {
        "VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/ai2d"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id", "question_id"]);
        item.options = item::options(row);
        item.answer = by_number(&item.options, &required(row, &["answer"])?)?;
        item.kind = AnswerKind::Choice;
        Ok(item)
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

/// A letter as it is, or the letter of an option's number.
pub(super) fn by_number(options: &[(char, String)], answer: &str) -> Result<String, String> {
    let number = answer.parse::<usize>();
    let letter = match number {
        Ok(number) => options.get(number).map(|(letter, _)| letter.to_string()),
        Err(_) => answer
            .chars()
            .next()
            .filter(|letter| answer.len() == 1 && options.iter().any(|(known, _)| known == letter))
            .map(String::from),
    };
    letter.ok_or_else(|| format!("the answer `{answer}` is none of its {} options", options.len()))
}

/// A letter and a full stop at the start, else the whole output; case and ASCII punctuation aside.
fn lmms(item: &Item, output: &str) -> Mark {
    static START: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*([A-Z])\."));
    let taken =
        START.captures(output).and_then(|found| found.get(1)).map_or(output, |letter| letter.as_str());
    let bare: String = taken.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    Mark::read(taken, bare == item.answer.to_lowercase())
}
