//! Counting objects in CLEVR and SuperCLEVR scenes.
//!
//! R1-V's JSONL: `image_path`, `question`, `ground_truth`; CLEVR's Parquet: `problem`, `solution` in answer tags.

use std::sync::LazyLock;

use reft_core::StageError;
use reft_math::python::{int, strip};
use reft_peer_rewards::math_verify;
use regex::Regex;
use serde_json::{Map, Value};

use super::Rules;
use crate::{AnswerKind, Asked, Grader, Harness, Item, Mark, item::required, reading::pattern};

pub(super) struct Counting;

impl Rules for Counting {
    fn source(&self) -> &'static str {
        "Deep-Agent/R1-V, src/eval/; ding523/Curr_REFT, evaluation; VLMEvalKit and lmms-eval, CountBenchQA; math-verify 0.9"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::R1V, Grader::CurrReft, Grader::Contains, Grader::Equal, Grader::MathVerify]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id", "image_path", "question"]);
        let answer = required(row, &["ground_truth", "solution", "answer"])?;
        item.answer = digits_in_tags(&answer).unwrap_or(answer);
        item.kind = AnswerKind::Integer;
        Ok(item)
    }

    fn prompt(&self, item: &Item, _harness: Harness) -> String {
        format!(
            "{} First output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.",
            item.question
        )
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        _asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        Ok(match grader {
            // `4` is in `14`.
            Grader::CurrReft | Grader::Contains => Mark::read(output, output.contains(&item.answer)),
            Grader::Equal => Mark::read(strip(output), strip(output) == item.answer),
            Grader::MathVerify => Mark::read(output, math_verify(&item.answer, output)),
            _ => {
                let found = digits_in_tags(output).and_then(|digits| int(&digits));
                let right = found.is_some() && found == int(&item.answer);
                Mark::of(found, right)
            }
        })
    }
}

/// The digits that alone stand in the first answer block that has nothing else.
fn digits_in_tags(text: &str) -> Option<String> {
    static TAGGED: LazyLock<Regex> = LazyLock::new(|| pattern(r"<answer>\s*(\d+)\s*</answer>"));
    Some(TAGGED.captures(text)?.get(1)?.as_str().to_owned())
}
