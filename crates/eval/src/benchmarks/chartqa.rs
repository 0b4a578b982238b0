//! ChartQA: questions about charts, numbers within 5 %.
//!
//! Rows: `type` (`human_test`, `augmented_test`), `question`, `answer`, `image`; TSV with `split`.

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Table,
    item::{self, required},
    reading::number::relaxed,
    table,
};

pub(super) struct ChartQa;

impl Rules for ChartQa {
    fn source(&self) -> &'static str {
        "arXiv 2203.10244, section 5.1; VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/chartqa"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id"]);
        // The hub keeps some answers in lists of one.
        let listed = item::texts(row, "answer").and_then(|answers| answers.into_iter().next());
        item.answer = listed.map_or_else(|| required(row, &["answer"]), Ok)?;
        item.kind = AnswerKind::Relaxed;
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match harness {
            Harness::Lmms => format!("{}\nAnswer the question with a single word.", item.question),
            Harness::VlmEval | Harness::Authors | Harness::Recipe => {
                format!("{}\nAnswer the question using a single word or phrase.", item.question)
            }
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        _asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        let given = if grader == Grader::Lmms { output } else { strip(output) };
        Ok(Mark::read(given, relaxed(given, &item.answer)))
    }

    fn keys(&self) -> &'static [&'static str] {
        &["type", "split"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        table::accuracy(marked, &["type", "split"])
    }
}
