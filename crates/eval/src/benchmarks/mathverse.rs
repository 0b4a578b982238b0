//! MathVerse (testmini): 788 problems in five versions, from all in the text to all in the picture.
//!
//! Rows: `sample_index`, `problem_index`, `problem_version`, `question`, `image`, `answer`, `question_type`, `metadata`,
//! `query_wo`, `query_cot`, `question_for_eval`; TSV with the metadata as text.

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::required,
    table::{by, percent},
};

/// Times that a judge is asked.
const TRIES: usize = 5;
/// Words of an answer that the authors show to their judge.
const WORDS: usize = 30;

pub(super) struct MathVerse;

impl Rules for MathVerse {
    fn source(&self) -> &'static str {
        "ZrrSkywalker/MathVerse at 937b090, evaluation/; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/mathverse.py; \
         lmms-eval 0.7.3, tasks/mathverse"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Authors, Grader::QuickMatch, Grader::Reasoning]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["sample_index", "index"]);
        item.answer = required(row, &["answer"])?;
        let is_choice = item.text("question_type").is_some_and(|kind| kind == "multi-choice");
        item.kind = if is_choice { AnswerKind::Choice } else { AnswerKind::Math };
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match harness {
            Harness::VlmEval => item.question.clone(),
            Harness::Lmms | Harness::Authors | Harness::Recipe => {
                item.text("query_wo").unwrap_or_else(|| item.question.clone())
            }
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader == Grader::QuickMatch {
            return Ok(Mark::read(output, output == item.answer));
        }
        let shown = if grader == Grader::Authors { last_words(output) } else { output.to_owned() };
        let prompt = crate::judging::fill(include_str!("../prompts/extract_math.txt"), &[("answer", &shown)]);
        let extracted = asked.until(&prompt, TRIES, |reply| {
            (!reply.contains(crate::judging::NO_REPLY)).then(|| reply.to_owned())
        })?;
        match extracted {
            Ok(extracted) => score_extraction(grader, item, &extracted, asked),
            Err(reason) => Ok(Mark { answer: Some(String::new()), ..Mark::because(reason) }),
        }
    }

    fn keys(&self) -> &'static [&'static str] {
        &["problem_version", "subject", "subfield", "question_type"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut table = Table::default();
        let versions = by(marked, |item| item.text("problem_version").into_iter().collect());
        let all: (String, Vec<Marked<'_>>) = ("ALL".to_owned(), marked.to_vec());
        for (version, members) in std::iter::once(&all).chain(&versions) {
            table.set(version, "Overall", percent(members));
            for key in ["subject", "subfield"] {
                let values = by(members, |item| {
                    item.metadata(key)
                        .and_then(|value| value.as_str().map(str::to_owned))
                        .into_iter()
                        .collect()
                });
                for (value, members) in values {
                    table.set(version, &value, percent(&members));
                }
            }
        }
        table
    }

    fn needs_judge(&self, grader: Grader) -> bool {
        matches!(grader, Grader::VlmEval | Grader::Authors)
    }
}

/// The last 30 words of an answer, split at single spaces, which keep their line breaks: what the authors show to the judge
/// that extracts (`--trunk_response 30`).
pub fn last_words(output: &str) -> String {
    let words: Vec<&str> = output.split(' ').collect();
    words[words.len().saturating_sub(WORDS)..].join(" ")
}

/// The second step: whether an extracted answer is the right one, by equality or else by the judge.
pub fn score_extraction(
    grader: Grader,
    item: &Item,
    extracted: &str,
    asked: &mut Asked<'_>,
) -> Result<Mark, StageError> {
    let is_equal = strip(extracted) == strip(&item.answer);
    if is_equal && grader == Grader::VlmEval {
        return Ok(Mark::read(extracted, true));
    }
    let question = item.text("question_for_eval").unwrap_or_else(|| item.question.clone());
    let prompt = crate::judging::fill(
        include_str!("../prompts/same_answer.txt"),
        &[("question", &question), ("solution", &item.answer), ("answer", extracted)],
    );
    let verdict = asked.until(&prompt, TRIES, |reply| match strip(reply) {
        _ if reply.contains(crate::judging::NO_REPLY) => None,
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    })?;
    Ok(match verdict {
        Ok(right) => Mark::read(extracted, right).with(Reason::Judged),
        Err(reason) => Mark { answer: Some(extracted.to_owned()), ..Mark::because(reason) },
    })
}
