//! MATH-Vision: competition problems with pictures.
//!
//! Rows: `id`, `question` (with `<image1>`), `options` (none or five), `answer`, `level`, `subject`; the authors' JSONL; TSV
//! with `choices` as text and `category`.

use reft_core::StageError;
use reft_math::python::{float, strip};
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::{self, required},
    reading::{latex, option, value::Names},
    table,
};

/// Times that VLMEvalKit asks its judge.
const TRIES: usize = 5;
/// Letters of options.
const LETTERS: [char; 5] = ['A', 'B', 'C', 'D', 'E'];
/// Words after which an answer stands, with `the` in lower case.
const FLAGS: [&str; 4] =
    ["the final answer is", "the answer is", "the correct answer is", "the answer should be"];

pub(super) struct MathVision;

impl Rules for MathVision {
    fn source(&self) -> &'static str {
        "mathllms/MATH-V at a1f5cc3, evaluation/; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/mathv.py; \
         lmms-eval 0.7.3, tasks/mathvision"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::Authors, Grader::VlmEval, Grader::Lmms, Grader::Reasoning]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["id", "index"]);
        item.options = ["options", "choices"]
            .iter()
            .find_map(|name| item::texts(row, name))
            .map(item::lettered)
            .unwrap_or_default();
        item.answer = required(row, &["answer"])?;
        item.kind = if item.options.is_empty() { AnswerKind::Math } else { AnswerKind::Choice };
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        let question = item.question.replace("<image1>", "");
        let lines = |form: &dyn Fn(char, &str) -> String| -> Vec<String> {
            item.options.iter().map(|(letter, text)| form(*letter, text)).collect()
        };
        match harness {
            Harness::Lmms => {
                let choices = if item.options.is_empty() {
                    String::new()
                } else {
                    let lines = lines(&|letter, text| format!("{letter}. {text}"));
                    format!(
                        "\nChoices: {}\nAnswer with the option's letter from the given choices.",
                        lines.join("\n")
                    )
                };
                format!(
                    "Please solve the problem step by step and put your answer in one \"\\boxed{{}}\".{question}{choices}"
                )
            }
            Harness::Authors | Harness::VlmEval | Harness::Recipe => {
                let request = "Please solve the problem and put your answer in one \"\\boxed{}\". If it is a multiple choice \
                               question, only one letter is allowed in the \"\\boxed{}\".";
                let mut all = vec![request.to_owned(), question.trim().to_owned()];
                all.extend(lines(&|letter, text| format!("({letter}) {text}")));
                all.join("\n")
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
        Ok(match grader {
            Grader::VlmEval => vlmeval(item, output, asked)?,
            Grader::Lmms => authors(item, output, Names::Lost),
            _ => authors(item, output, Names::Known),
        })
    }

    fn keys(&self) -> &'static [&'static str] {
        &["subject", "category", "level"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        table::accuracy(marked, &["subject", "category", "level"])
    }
}

/// The letter or the value after whatever announces it, in normal form.
fn authors(item: &Item, output: &str, names: Names) -> Mark {
    let normal = latex::normal(&announced(output));
    let found = bare_letter(&normal);
    let text = item.answer.chars().next().and_then(|letter| item.option(letter)).unwrap_or_default();
    let right = latex::equal(&item.answer, &found, names) || latex::equal(text, &found, names);
    Mark::read(normal, right)
}

/// The part of an output that holds the answer.
fn announced(output: &str) -> String {
    let mut answer = strip(output).to_owned();
    for c in LETTERS {
        let starts = [format!("{c}\n"), format!("({c})\n"), format!("({c}) {c}\n")];
        let ends = [format!(" {c}."), format!(" ({c}).")];
        if ends.iter().any(|end| answer.ends_with(end))
            || starts.iter().any(|start| answer.starts_with(start))
        {
            answer = c.to_string();
        }
    }
    let tail = answer.rsplit("is ").next().unwrap_or_default().trim_end_matches('.').to_owned();
    if float(&tail).is_some() {
        answer = tail;
    }
    let boxes = answer.matches("oxed{").count();
    if boxes == 0 {
        for flag in FLAGS {
            for flag in [flag.to_owned(), flag.replace("the", "The")] {
                if let Some((_, rest)) = answer.rsplit_once(&flag) {
                    let line = strip(rest).split('\n').next().unwrap_or_default();
                    answer = String::from(line.split(". ").next().unwrap_or_default());
                } else {
                    answer = String::from(strip(&answer));
                }
            }
        }
    } else if boxes > 1 {
        let last = answer.rsplit("oxed{").next().unwrap_or_default();
        answer = format!("\\boxed{{{last}");
    }
    answer
}

/// `(a)` and `{a}` as `a`, without a full stop behind and a colon in front.
fn bare_letter(normal: &str) -> String {
    let mut bare = normal.to_owned();
    for (open, close) in [("(", ")"), ("{", "}")] {
        for c in LETTERS {
            let c = c.to_ascii_lowercase();
            bare = bare.replace(&format!("{open}{c}{close}"), &c.to_string());
        }
    }
    strip(bare.trim_end_matches('.').trim_start_matches(':')).to_owned()
}

/// VLMEvalKit: option inference or equality of values, else the judge's reply in the same way.
fn vlmeval(item: &Item, output: &str, asked: &mut Asked<'_>) -> Result<Mark, StageError> {
    let is_choice = !item.options.is_empty();
    if is_choice {
        if let Some(letter) = option::infer(output, &item.options) {
            return Ok(Mark::read(letter, item.answer.chars().eq([letter])));
        }
    } else if latex::close(output, &item.answer) && !output.is_empty() {
        return Ok(Mark::read(output, true));
    }
    let question = item.question.clone();
    let prompt = crate::judging::fill(
        include_str!("../prompts/extract_answer.txt"),
        &[("question", &question), ("answer", output)],
    );
    let reply = asked.until(&prompt, TRIES, |reply| {
        (!reply.contains(crate::judging::NO_REPLY)).then(|| reply.to_owned())
    })?;
    Ok(match reply {
        Ok(reply) => {
            let right = if is_choice {
                option::infer(&reply, &item.options).is_some_and(|letter| item.answer.chars().eq([letter]))
            } else {
                latex::close(&reply, &item.answer)
            };
            Mark::read(reply, right).with(Reason::Judged)
        }
        Err(reason) => Mark { answer: Some(String::new()), ..Mark::because(reason) },
    })
}
