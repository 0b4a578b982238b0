//! GeoQA and Geometry3K: school geometry, free answers or four choices.
//!
//! GeoQA, R1-V's JSONL: `image_path`, `question`, `ground_truth` with its unit. Geometry3K: `images`, `problem`, `answer`, or
//! `choices` and `ground_truth` as a letter.

use std::sync::LazyLock;

use reft_core::StageError;
use reft_math::python::strip;
use reft_peer_rewards::{math_verify, mathruler, mathruler_box};
use regex::Regex;
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark,
    item::{self, required},
    reading::pattern,
};

pub(super) struct Geometry;

impl Rules for Geometry {
    fn source(&self) -> &'static str {
        "Deep-Agent/R1-V, src/eval/ with math-verify 0.9; hiyouga/EasyR1 with mathruler 0.1.0; lmms-eval 0.7.3, tasks/geometry3k"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::R1V, Grader::GoldFirst, Grader::MathRuler, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id", "image_path"]);
        item.options = item::texts(row, "choices").map(item::lettered).unwrap_or_default();
        item.answer = required(row, &["ground_truth", "answer"])?;
        item.kind = if item.options.is_empty() { AnswerKind::Math } else { AnswerKind::Choice };
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        if item.options.is_empty() {
            return format!(
                "{} Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.",
                item.question
            );
        }
        super::choice::prompt(item, if harness == Harness::VlmEval { Harness::Lmms } else { harness })
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        _asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        Ok(match grader {
            // The output is passed as the right answer.
            Grader::R1V => Mark::read(output, math_verify(output, &item.answer)),
            Grader::GoldFirst => Mark::read(output, math_verify(&item.answer, output)),
            Grader::MathRuler => {
                let boxed = mathruler_box(output);
                Mark::read(boxed, mathruler(boxed, &item.answer))
            }
            _ => {
                let found = letter(item, output);
                let truth = strip(&item.answer).to_uppercase();
                Mark::of(found.map(String::from), found.is_some_and(|found| truth.chars().eq([found])))
            }
        })
    }
}

/// lmms-eval: the last letter after "answer", the last before a mark, a letter alone, any lone letter, in either case; else
/// the first option whose text the output holds.
fn letter(item: &Item, output: &str) -> Option<char> {
    static PATTERNS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
        [
            r"[Aa]nswer\s*[:=]\s*\(?([A-Da-d])\)?",
            r"\b([A-Da-d])\s*[.)\]]",
            r"^\s*\(?([A-Da-d])\)?$",
            r"\b([A-Da-d])\b",
        ]
        .map(pattern)
    });
    let text = strip(output);
    let by_pattern = PATTERNS.iter().find_map(|pattern| {
        let last = pattern.captures_iter(text).last()?;
        last.get(1)?.as_str().chars().next()
    });
    by_pattern.map(|letter| letter.to_ascii_uppercase()).or_else(|| {
        let lower = text.to_lowercase();
        item.options
            .iter()
            .take(4)
            .find(|(_, text)| lower.contains(&text.to_lowercase()))
            .map(|(letter, _)| *letter)
    })
}
