//! DynaMath: 501 problems in ten variants each; average and worst case.
//!
//! Rows: `id`, `question`, `ground_truth`, `answer_type`, `subject`, `knowledge_level`; the authors' JSON; TSV with `qid`,
//! `varid`, `answer`. The model is asked for JSON with `solution` and `short answer`.

use std::{f64::consts::PI, fmt::Write as _};

use reft_core::StageError;
use reft_math::python::{digit, float, float_text};
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::required,
    table::{by, mean},
};

/// Largest difference of numbers that are equal.
const TOLERANCE: f64 = 0.001;

pub(super) struct DynaMath;

impl Rules for DynaMath {
    fn source(&self) -> &'static str {
        "DynaMath/DynaMath at 598c3c3, evaluation/opensource_json_eval.py; VLMEvalKit (ms-vlmeval 0.0.20), dataset/dynamath.py"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Authors]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id"]);
        item.answer = required(row, &["answer", "ground_truth"])?;
        item.kind = match item.text("answer_type").as_deref() {
            Some("float") => AnswerKind::Near(TOLERANCE),
            Some("multiple choice") => AnswerKind::Choice,
            Some("int") => AnswerKind::Integer,
            _ => AnswerKind::Text,
        };
        Ok(item)
    }

    fn prompt(&self, item: &Item, _harness: Harness) -> String {
        let request = match item.text("answer_type").as_deref() {
            Some("multiple choice") => {
                "Provide the corresponing choice option in the 'short answer' key, such as 'A', 'B', 'C', or 'D'."
            }
            Some("float") => {
                "Format the answer as a three-digit floating-point number and provide it in the 'short answer' key."
            }
            _ => "Float numbers in the answer should be formatted as three-digit floating-point numbers.",
        };
        format!(
            "## Question\n {}\n## Answer Instruction Please provide an answer to the question outlined above. Your response \
             should adhere to the following JSON format, which includes two keys: 'solution' and 'short answer'. The \
             'solution' key can contain detailed steps needed to solve the question, and the 'short answer' key should \
             provide a concise response. {request}\n\nExample of expected JSON response format:\n\n{{\n    \"solution\": \
             \"[Detailed step-by-step explanation]\",\n    \"short answer\": \"[Concise Answer]\"\n}}",
            item.question
        )
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader == Grader::Authors {
            let answer = authors_answer(output);
            let right = answer.as_deref().is_some_and(|answer| authors_right(item, answer));
            return Ok(Mark::of(answer, right));
        }
        vlmeval(item, output, asked)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["subject", "knowledge_level", "answer_type"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut table = Table::default();
        let groups = by(marked, |item| item.text("qid").or_else(|| item.text("id")).into_iter().collect());
        // A question is right in the worst case when all of its variants are; it has the keys of its first.
        let worst: Vec<(&Item, f64)> = groups
            .iter()
            .filter_map(|(_, members)| {
                let all = members.iter().all(|one| one.mark.is_right());
                Some((members.first()?.item, f64::from(u8::from(all))))
            })
            .collect();
        let average: Vec<(&Item, f64)> = marked.iter().map(|one| (one.item, one.score())).collect();
        for (row, scores) in [("Average", &average), ("Worst Case", &worst)] {
            table.set(row, "Overall", mean(scores.iter().map(|(_, score)| *score)));
            for (prefix, key) in [("Subject", "subject"), ("Level", "knowledge_level")] {
                let mut names: Vec<String> = scores.iter().filter_map(|(item, _)| item.text(key)).collect();
                names.sort();
                names.dedup();
                for name in names {
                    let of = scores.iter().filter(|(item, _)| item.text(key).as_ref() == Some(&name));
                    table.set(row, &format!("{prefix}-{name}"), mean(of.map(|(_, score)| *score)));
                }
            }
        }
        table
    }
}

/// From the first brace to the last, without any backslash, as both graders do, which breaks escaped quotes.
fn braces(text: &str) -> Option<String> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    (start < end).then(|| text[start..=end].replace('\\', ""))
}

/// The object of a text, control characters in its strings allowed, as `json.loads(strict=False)` reads it.
fn object(text: &str) -> Option<Map<String, Value>> {
    let mut inside = false;
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        inside ^= c == '"';
        if inside && c < ' ' {
            // Writing to a string cannot fail.
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    match serde_json::from_str(&plain).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// What VLMEvalKit reads a short answer as.
enum Short {
    Number(f64),
    Text(String),
}

/// Digits, or the first word as a number; one letter, or the only letter A to E; any text.
fn short(item: &Item, answer: &str) -> Option<Short> {
    match item.text("answer_type").as_deref() {
        Some("float") => first_number(answer).map(Short::Number),
        Some("multiple choice") => {
            let upper = answer.to_uppercase();
            if answer.chars().count() == 1 {
                return Some(Short::Text(upper));
            }
            let mut found = ['A', 'B', 'C', 'D', 'E'].into_iter().filter(|&letter| upper.contains(letter));
            match (found.next(), found.next()) {
                (Some(letter), None) => Some(Short::Text(letter.to_string())),
                _ => None,
            }
        }
        _ => Some(Short::Text(answer.to_owned())),
    }
}

/// The first word as a number; what precedes a π is multiplied by it.
fn first_number(answer: &str) -> Option<f64> {
    if !answer.is_empty() && answer.chars().all(|c| digit(c).is_some()) {
        return float(answer);
    }
    let word = answer.split(' ').next()?;
    match word.split_once('π') {
        Some((factor, _)) => Some(float(factor)? * PI),
        None => float(word),
    }
}

fn vlmeval(item: &Item, output: &str, asked: &mut Asked<'_>) -> Result<Mark, StageError> {
    let prediction = braces(output).unwrap_or_else(|| output.replace('\\', ""));
    let is_text = matches!(item.text("answer_type").as_deref(), Some(kind) if kind != "float" && kind != "multiple choice");
    let said = object(&prediction)
        .and_then(|object| object.get("short answer").cloned())
        .filter(|said| !said.is_null());
    let from_json = match &said {
        Some(Value::String(answer)) => short(item, answer),
        // A free answer that is no text makes the original fail.
        Some(_) if is_text => return Ok(Mark::because(Reason::Raises)),
        _ => None,
    };
    let (found, reason) = match from_json.or_else(|| short(item, &prediction)) {
        Some(found) => (Some(found), Reason::Read),
        None => shortened(item, &prediction, asked)?,
    };
    Ok(match found {
        Some(Short::Number(x)) => {
            let right = float(&item.answer).is_some_and(|truth| (x - truth).abs() <= TOLERANCE);
            Mark::read(float_text(x), right).with(reason)
        }
        Some(Short::Text(text)) if is_text => {
            // The right answer holds the given one: an empty text is right.
            let right = item.answer.to_lowercase().contains(&text.to_lowercase());
            Mark::read(text, right).with(reason)
        }
        Some(Short::Text(letter)) => {
            let right = letter == item.answer;
            Mark::read(letter, right).with(reason)
        }
        None => {
            let is_choice = item.text("answer_type").is_some_and(|kind| kind == "multiple choice");
            let start: String = prediction.chars().take(3).collect();
            let right = is_choice && start.to_uppercase().contains(&item.answer);
            let reason = if reason == Reason::Judged { Reason::Unjudged } else { reason };
            Mark { score: f32::from(u8::from(right)), reason, ..Mark::default() }
        }
    })
}

/// What the judge makes of an answer, in one call, whatever it says.
fn shortened(
    item: &Item,
    prediction: &str,
    asked: &mut Asked<'_>,
) -> Result<(Option<Short>, Reason), StageError> {
    let prompt = crate::judging::fill(
        include_str!("../prompts/shorten.txt"),
        &[("answer", prediction), ("request", shortening(item))],
    );
    Ok(match asked.until(&prompt, 1, |reply| Some(short(item, reply)))? {
        Ok(found) => (found, Reason::Judged),
        Err(reason) => (None, reason),
    })
}

fn shortening(item: &Item) -> &'static str {
    match item.text("answer_type").as_deref() {
        Some("multiple choice") => "the letter of the chosen option, on a line of its own",
        Some("float") => "a number with three decimals, on a line of its own",
        _ => "the short answer, on a line of its own; numbers with three decimals",
    }
}

/// The authors' reading: the short answer of the JSON, else the last line without its last character. None where their
/// program fails.
fn authors_answer(output: &str) -> Option<String> {
    let start = output.find('{');
    let end = output.rfind('}');
    let inner = match (start, end) {
        (Some(start), Some(end)) if start < end => output[start..=end].replace('\\', ""),
        _ => output.to_owned(),
    };
    match serde_json::from_str::<Value>(&inner) {
        Ok(Value::Object(_)) | Err(_) => {}
        // Any other value has no short answer.
        Ok(_) => return None,
    }
    if let Some(object) = object(&inner) {
        return Some(python_text(object.get("short answer").unwrap_or(&Value::Null)));
    }
    let mut line = inner.rsplit('\n').next().unwrap_or_default().to_owned();
    line.pop();
    Some(line)
}

/// `str(value)`.
fn python_text(value: &Value) -> String {
    let inside = |value: &Value| match value {
        Value::String(text) => format!("'{text}'"),
        value => python_text(value),
    };
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.to_string(),
            None => number.as_f64().map(float_text).unwrap_or_default(),
        },
        Value::String(text) => text.clone(),
        Value::Array(entries) => format!("[{}]", entries.iter().map(inside).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| format!("'{key}': {}", inside(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn authors_right(item: &Item, answer: &str) -> bool {
    match item.text("answer_type").as_deref() {
        Some("float") => {
            let (given, truth) = (first_number(answer), float(&item.answer));
            given.zip(truth).is_some_and(|(given, truth)| (given - truth).abs() <= TOLERANCE)
        }
        Some("multiple choice") if answer.chars().count() == 1 => answer == item.answer,
        Some("multiple choice") => answer.chars().take(3).collect::<String>().contains(&item.answer),
        _ => answer.contains(&item.answer),
    }
}
