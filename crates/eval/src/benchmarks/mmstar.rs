//! MMStar: questions that need the picture, four options in the question.
//!
//! Rows: `index`, `question` with `Options: A: x, B: y`, `answer`, `category`, `l2_category`; TSV with options in columns.

use reft_core::StageError;
use serde_json::{Map, Value};

use super::{Rules, choice};
use crate::{
    AnswerKind, Asked, Grader, Item, Mark, Marked, Table,
    item::{self, required},
    reading::letter,
    table::{self, by, mean, percent},
};

pub(super) struct MmStar;

impl Rules for MmStar {
    fn source(&self) -> &'static str {
        "VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/mmstar"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index"]);
        item.options = item::columns(row);
        item.answer = required(row, &["answer"])?;
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
            return Ok(trusted(item, output));
        }
        choice::vlmeval(item, output, asked)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["category", "l2-category", "l2_category"]
    }

    fn table(&self, grader: Grader, marked: &[Marked<'_>]) -> Table {
        if grader != Grader::Lmms {
            return table::accuracy(marked, &["category", "l2-category"]);
        }
        let groups = by(marked, |item| {
            ["l2_category", "l2-category"].iter().find_map(|name| item.text(name)).into_iter().collect()
        });
        let mut table = Table::default();
        table.set("Overall", "average", mean(groups.iter().map(|(_, members)| percent(members) / 100.0)));
        for (name, members) in &groups {
            table.set(name, "average", percent(members) / 100.0);
        }
        table
    }
}

/// lmms-eval's choice extractor among A to D.
pub(super) fn trusted(item: &Item, output: &str) -> Mark {
    let found = letter::trusted(output, &['A', 'B', 'C', 'D']);
    let right = found.is_some_and(|letter| item.answer.to_uppercase().chars().eq([letter]));
    Mark::of(found.map(String::from), right)
}
