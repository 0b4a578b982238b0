//! MathVista (testmini): mathematics in pictures of many kinds, choices and numbers.
//!
//! Rows: `pid`, `question`, `choices`, `unit`, `precision`, `answer`, `question_type`, `answer_type`, `metadata`, `query`; the
//! authors' JSON has the same by pid; TSV with `answer_option`, lists as text, and the whole query as `question`.

use reft_core::StageError;
use reft_math::python::{float, float_text, int, rounded_text, strip};
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::{self, required},
    reading::option,
    table,
};

/// Times that VLMEvalKit asks its judge.
const TRIES: usize = 5;

pub(super) struct MathVista;

impl Rules for MathVista {
    fn source(&self) -> &'static str {
        "lupantech/MathVista at 53d5258, evaluation/; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/mathvista.py; \
         lmms-eval 0.7.3, tasks/mathvista"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Authors, Grader::AuthorsQuick, Grader::Lmms, Grader::Reasoning]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["pid", "index", "question_id"]);
        item.options = item::texts(row, "choices").map(item::lettered).unwrap_or_default();
        let answer = required(row, &["answer"])?;
        if is_choice(&item) {
            let letter = item.text("answer_option").or_else(|| {
                let found = item.options.iter().find(|(_, text)| *text == answer);
                found.map(|(letter, _)| letter.to_string())
            });
            item.answer = letter.ok_or_else(|| format!("the answer `{answer}` is none of its choices"))?;
            item.kind = AnswerKind::Choice;
        } else {
            item.kind = match item.text("answer_type").as_deref() {
                Some("integer") => AnswerKind::Integer,
                Some("float") => AnswerKind::Decimal(precision(&item).unwrap_or(2)),
                Some("list") => AnswerKind::List,
                _ => AnswerKind::Text,
            };
            item.answer = answer;
        }
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match harness {
            // The same text: the authors' `query` is VLMEvalKit's `question`.
            Harness::VlmEval | Harness::Authors | Harness::Recipe => {
                item.text("query").unwrap_or_else(|| {
                    if item.question.starts_with("Hint:") { item.question.clone() } else { query(item, true) }
                })
            }
            Harness::Lmms => query(item, false),
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        match grader {
            Grader::VlmEval => vlmeval(item, output, asked),
            Grader::Lmms => authors(item, strip(output), Rule::LMMS, asked),
            Grader::AuthorsQuick => authors(item, output, Rule { quick: true, ..Rule::AUTHORS }, asked),
            _ => authors(item, output, Rule::AUTHORS, asked),
        }
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        table::accuracy(marked, self.keys())
    }

    fn keys(&self) -> &'static [&'static str] {
        &["task", "skills", "source", "context", "grade", "category"]
    }
}

fn is_choice(item: &Item) -> bool {
    item.text("question_type").is_some_and(|kind| kind == "multi_choice")
}

/// The text of the right choice, or the answer itself.
fn right_text(item: &Item) -> &str {
    let letter = item.answer.chars().next().filter(|_| is_choice(item));
    letter.and_then(|letter| item.option(letter)).unwrap_or(&item.answer)
}

fn precision(item: &Item) -> Option<usize> {
    item.text("precision").and_then(|text| float(&text)).map(|places| places as usize)
}

/// The request, the question and the choices.
fn query(item: &Item, hint_first: bool) -> String {
    let places = if precision(item) == Some(1) {
        ("one decimal place", "1.2, 1.3, 1.4")
    } else {
        ("two decimal places", "1.23, 1.34, 1.45")
    };
    let hint = match item.kind {
        AnswerKind::Choice => {
            "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.".to_owned()
        }
        AnswerKind::Integer => {
            "Hint: Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end."
                .to_owned()
        }
        AnswerKind::List => {
            "Hint: Please answer the question requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end."
                .to_owned()
        }
        _ => format!(
            "Hint: Please answer the question requiring a floating-point number with {} and provide the final value, e.g., {}, at the end.",
            places.0, places.1
        ),
    };
    let unit = item.text("unit").filter(|unit| !unit.is_empty()).map(|unit| format!(" (Unit: {unit})"));
    let mut lines = vec![format!("Question: {}{}", item.question, unit.unwrap_or_default())];
    if !item.options.is_empty() {
        lines.push("Choices:".to_owned());
        lines.extend(item.options.iter().map(|(letter, text)| format!("({letter}) {text}")));
    }
    lines.insert(if hint_first { 0 } else { lines.len() }, hint);
    lines.join("\n")
}

/// VLMEvalKit: what can be inferred is final, else the judge's reply is read in the same way. A list is never right, and
/// an answer of 0 always goes to the judge.
fn vlmeval(item: &Item, output: &str, asked: &mut Asked<'_>) -> Result<Mark, StageError> {
    if is_choice(item) {
        if let Some(letter) = option::infer(output, &item.options) {
            return Ok(Mark::read(letter, item.answer.chars().eq([letter])));
        }
    } else if let Some(value) = number(item, output).filter(|_| number_is_right(item, output))
        && float(&value) != Some(0.0)
    {
        return Ok(Mark::read(value, true));
    }
    let prompt = extraction_prompt(item, output);
    Ok(
        match asked.until(&prompt, TRIES, |reply| {
            (!reply.contains(crate::judging::NO_REPLY)).then(|| reply.to_owned())
        })? {
            Ok(reply) => {
                let right = if is_choice(item) {
                    option::infer(&reply, &item.options)
                        .is_some_and(|letter| item.answer.chars().eq([letter]))
                } else {
                    number_is_right(item, &reply)
                };
                Mark::read(reply, right).with(Reason::Judged)
            }
            Err(reason) => Mark { answer: Some(String::new()), ..Mark::because(reason) },
        },
    )
}

/// The text as the number that is asked for.
fn number(item: &Item, text: &str) -> Option<String> {
    match item.text("answer_type").as_deref() {
        Some("integer") => int(text),
        Some("float") => float(text).map(float_text),
        _ => None,
    }
}

fn number_is_right(item: &Item, text: &str) -> bool {
    match item.text("answer_type").as_deref() {
        Some("integer") => int(text).is_some_and(|given| Some(given) == int(&item.answer)),
        Some("float") => float(text).zip(float(&item.answer)).is_some_and(|(given, right)| given == right),
        _ => false,
    }
}

/// How lmms-eval's port of the authors' grader differs.
#[derive(Clone, Copy)]
struct Rule {
    /// Looks for `The answer is "..".` before it asks the judge.
    quick: bool,
    /// Rounds to the precision; the port hands a float to `round`, which raises, and takes every float for none.
    rounds: bool,
    /// Compares without white space around.
    strips: bool,
}

impl Rule {
    const AUTHORS: Self = Self { quick: false, rounds: true, strips: false };
    const LMMS: Self = Self { quick: false, rounds: false, strips: true };
}

/// The authors' grader: extraction, normalisation, equality. Any extraction of a choice becomes the nearest choice.
fn authors(item: &Item, output: &str, rule: Rule, asked: &mut Asked<'_>) -> Result<Mark, StageError> {
    let (extraction, reason) = extract(item, output, rule, asked)?;
    let normalized = normalized(item, &extraction, rule);
    let right = normalized.as_deref().is_some_and(|value| {
        if rule.strips { strip(value) == strip(right_text(item)) } else { value == right_text(item) }
    });
    Ok(Mark { reason, ..Mark::of(normalized, right) })
}

fn extract(
    item: &Item,
    output: &str,
    rule: Rule,
    asked: &mut Asked<'_>,
) -> Result<(String, Reason), StageError> {
    if output.is_empty() {
        return Ok((String::new(), Reason::Unread));
    }
    if is_choice(item) && item.options.iter().any(|(_, text)| text == output) {
        return Ok((output.to_owned(), Reason::Read));
    }
    if let Some(value) = number(item, output) {
        return Ok((value, Reason::Read));
    }
    if rule.quick
        && let Some(answer) = quoted(output)
    {
        return Ok((answer.to_owned(), Reason::Read));
    }
    let prompt = extraction_prompt(item, output);
    Ok(match asked.until(&prompt, 1, |reply| Some(strip(reply).to_owned()))? {
        Ok(reply) => (reply, Reason::Judged),
        Err(reason) => (String::new(), reason),
    })
}

/// What stands in `The answer is "..".`, up to the last quote and full stop of the line.
fn quoted(text: &str) -> Option<&str> {
    text.split('\n').find_map(|line| {
        let (_, rest) = line.split_once("The answer is \"")?;
        Some(&rest[..rest.rfind("\".")?])
    })
}

fn normalized(item: &Item, extraction: &str, rule: Rule) -> Option<String> {
    if is_choice(item) {
        return Some(nearest_choice(item, extraction));
    }
    match item.text("answer_type").as_deref() {
        Some("integer") => {
            let x = float(extraction).filter(|x| x.is_finite())?.trunc();
            Some(format!("{:.0}", x + 0.0))
        }
        Some("float") if rule.rounds => Some(rounded_text(float(extraction)?, precision(item)?)),
        Some("float") => None,
        _ => Some(extraction.to_owned()),
    }
}

/// The choice of a letter in brackets or alone, else the one with the smallest edit distance, however large.
fn nearest_choice(item: &Item, extraction: &str) -> String {
    let text = strip(extraction);
    let bracketed = text.char_indices().find_map(|(at, c)| {
        let mut rest = text[at + c.len_utf8()..].chars();
        match (c, rest.next(), rest.next()) {
            ('(', Some(letter), Some(')')) if letter.is_ascii_alphabetic() => {
                Some(letter.to_ascii_uppercase().to_string())
            }
            _ => None,
        }
    });
    let text = bracketed.as_deref().unwrap_or(text);
    let by_letter = item.options.iter().find(|(letter, _)| text.chars().eq([*letter]));
    let nearest = || item.options.iter().min_by_key(|(_, choice)| strsim::levenshtein(text, choice));
    by_letter.or_else(nearest).map(|(_, choice)| choice.clone()).unwrap_or_default()
}

fn extraction_prompt(item: &Item, output: &str) -> String {
    let question = MathVista.prompt(item, Harness::Authors);
    crate::judging::fill(
        include_str!("../prompts/extract_answer.txt"),
        &[("question", &question), ("answer", output)],
    )
}
