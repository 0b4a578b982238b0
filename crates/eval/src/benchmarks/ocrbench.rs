//! OCRBench: reading text in pictures; an answer counts when the output holds it.
//!
//! Rows: `dataset`, `question`, `question_type`, `answer` (a list), `image`; TSV with `category` and the list as text.

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Item, Mark, Marked, Table,
    item::{self, required},
    table::by,
};

/// The category whose answers are compared without spaces and with their case.
const FORMULAS: &str = "Handwritten Mathematical Expression Recognition";
/// The data set that lmms-eval tells it by.
const FORMULA_SET: &str = "HME100k";
/// Categories that are reported together.
const TEXT_RECOGNITION: [&str; 6] = [
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
];

pub(super) struct OcrBench;

impl Rules for OcrBench {
    fn source(&self) -> &'static str {
        "arXiv 2305.07895; VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/ocrbench"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id"]);
        let answers = item::texts(row, "answer")
            .map_or_else(|| Ok(vec![required(row, &["answer"])?]), Ok::<_, String>)?;
        item.answer = answers.first().cloned().unwrap_or_default();
        item.kind = AnswerKind::Contains(answers);
        Ok(item)
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        _asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        let AnswerKind::Contains(answers) = &item.kind else { return Ok(Mark::default()) };
        let is_lmms = grader == Grader::Lmms;
        let is_formula = if is_lmms {
            item.text("dataset").is_some_and(|set| set == FORMULA_SET)
        } else {
            item.text("category").is_some_and(|category| category == FORMULAS)
        };
        let output = if is_lmms { strip(output) } else { output };
        let plain = |text: &str| {
            if is_formula {
                return strip(text).replace('\n', " ").replace(' ', "");
            }
            let folded = if is_lmms { half_width(text) } else { text.to_owned() };
            strip(&folded.to_lowercase()).replace('\n', " ")
        };
        let given = plain(output);
        Ok(Mark::read(output, answers.iter().any(|answer| given.contains(&plain(answer)))))
    }

    fn keys(&self) -> &'static [&'static str] {
        &["question_type", "category", "dataset"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let kinds = by(marked, |item| category(item).into_iter().collect());
        let points = |members: &[Marked<'_>]| members.iter().map(Marked::score).sum::<f64>();
        let mut table = Table::default();
        table.set("Final Score", "points", points(marked));
        let text: Vec<Marked<'_>> = marked
            .iter()
            .filter(|one| category(one.item).is_some_and(|kind| TEXT_RECOGNITION.contains(&kind.as_str())))
            .copied()
            .collect();
        table.set("Text Recognition", "points", points(&text));
        for (name, members) in &kinds {
            table.set(name, "points", points(members));
            table.set(name, "of", members.len() as f64);
        }
        table
    }
}

fn category(item: &Item) -> Option<String> {
    item.text("question_type").or_else(|| item.text("category"))
}

/// Full-width ASCII and the wide space as ASCII.
fn half_width(text: &str) -> String {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        c => c,
    };
    text.chars().map(narrow).collect()
}
