//! MMMU (validation): college subjects; several pictures, which stand at their marks.
//!
//! Rows: `id` (`validation_Art_1`), `question` and `options` (a list written as text) with `<image N>`, `image_1` to
//! `image_7`, `answer`, `question_type`; TSV with options in columns.

use std::sync::LazyLock;

use fancy_regex::Regex;
use reft_core::StageError;
use reft_math::python::{float, rounded_text, strip, words};
use serde_json::{Map, Value};

use super::{Rules, choice};
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::{self, required},
    table::{self, by, mean, percent},
};

/// What VLMEvalKit offers beside the right answer of an open question.
const OTHER: &str = "Other Answers";

pub(super) struct Mmmu;

impl Rules for Mmmu {
    fn source(&self) -> &'static str {
        "MMMU-Benchmark/MMMU at 51ce7f3, eval/; VLMEvalKit (ms-vlmeval 0.0.20); lmms-eval 0.7.3, tasks/mmmu"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["id", "index"]);
        item.options = item::options(row);
        item.answer = required(row, &["answer"])?;
        item.kind = if is_open(&item) {
            AnswerKind::Contains(item::texts(row, "answer").unwrap_or_else(|| vec![item.answer.clone()]))
        } else {
            AnswerKind::Choice
        };
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match harness {
            Harness::VlmEval => choice::prompt(item, harness),
            Harness::Lmms | Harness::Authors | Harness::Recipe if is_open(item) => {
                format!("{}\n\nAnswer the question using a single word or phrase.", item.question)
            }
            Harness::Lmms | Harness::Authors | Harness::Recipe => {
                let lines: Vec<String> =
                    item.options.iter().map(|(l, text)| format!("{l}. {text}")).collect();
                let request = "Answer with the option's letter from the given choices directly.";
                format!("{}\n{}\n\n{request}", item.question, lines.join("\n"))
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
        match (grader, is_open(item)) {
            (Grader::Lmms, true) => Ok(open(item, output)),
            (Grader::Lmms, false) => Ok(letter(item, output)),
            (_, true) => {
                let options = [('A', item.answer.clone()), ('B', OTHER.to_owned())];
                choice::vlmeval_of(&options, "A", item, output, asked)
            }
            (_, false) => choice::vlmeval(item, output, asked),
        }
    }

    fn keys(&self) -> &'static [&'static str] {
        &["subject", "category", "l2-category", "topic_difficulty"]
    }

    fn values(&self, item: &Item, key: &str) -> Vec<String> {
        if key == "subject" { subject(&item.id).into_iter().collect() } else { item.values(key) }
    }

    fn table(&self, grader: Grader, marked: &[Marked<'_>]) -> Table {
        if grader != Grader::Lmms {
            return table::accuracy(marked, &["l2-category", "category"]);
        }
        let subjects = by(marked, |item| subject(&item.id).into_iter().collect());
        let mut table = Table::default();
        let all = mean(marked.iter().map(Marked::score));
        table.set("Overall", "acc", (all * 1e5).round() / 1e5);
        table.set("Overall", "num", marked.len() as f64);
        for (name, members) in &subjects {
            table.set(name, "acc", (percent(members) * 1e3).round() / 1e5);
            table.set(name, "num", members.len() as f64);
        }
        table
    }
}

/// Whether the answer is free: a row without options.
fn is_open(item: &Item) -> bool {
    item.text("question_type").is_some_and(|kind| kind == "open") || item.options.is_empty()
}

/// `Art` of `validation_Art_1`.
fn subject(id: &str) -> Option<String> {
    let (_, rest) = id.split_once('_')?;
    let (subject, number) = rest.rsplit_once('_')?;
    (!number.is_empty() && number.chars().all(|c| c.is_ascii_digit())).then(|| subject.to_owned())
}

/// The letter by notation, of several the last. The original draws one where it finds none.
fn letter(item: &Item, output: &str) -> Mark {
    let mut text = output;
    for mark in [',', '.', '!', '?', ';', ':', '\''] {
        text = text.trim_matches(mark);
    }
    let text = format!(" {text} ");
    let written = |form: &dyn Fn(char) -> String| -> Vec<char> {
        item.letters().into_iter().filter(|&letter| text.contains(&form(letter))).collect()
    };
    let in_brackets = |letter: char| format!("({letter})");
    let before_space = |letter: char| format!("{letter} ");
    let before_stop = |letter: char| format!("{letter}.");
    let between_spaces = |letter: char| format!(" {letter} ");
    let lower = text.to_lowercase();
    let option = |letter: char| item.option(letter).unwrap_or_default().to_lowercase();

    let bracketed = written(&in_brackets);
    let spaced = if bracketed.is_empty() { written(&before_space) } else { Vec::new() };
    let stopped = if bracketed.is_empty() && spaced.is_empty() { written(&before_stop) } else { Vec::new() };
    let by_letter = [&bracketed, &spaced, &stopped].into_iter().find(|found| !found.is_empty());
    // Which of several is told by its last position; the first of those without one.
    let last = |found: &[char], position: &dyn Fn(char) -> Option<usize>| {
        found.iter().copied().reduce(|best, next| if position(next) > position(best) { next } else { best })
    };
    let found = match by_letter {
        Some(found) if !bracketed.is_empty() => last(found, &|l| text.rfind(&in_brackets(l))),
        Some(found) => last(found, &|l| text.rfind(&between_spaces(l))),
        None if words(&text).count() > 5 => {
            let named: Vec<char> =
                item.letters().into_iter().filter(|&letter| lower.contains(&option(letter))).collect();
            last(&named, &|letter| lower.rfind(&option(letter)))
        }
        None => None,
    };
    match found {
        Some(letter) => Mark::read(letter, item.answer.chars().eq([letter])),
        None => Mark::because(Reason::Lot),
    }
}

/// A text in lower case, or a number to two decimals.
#[derive(Clone, Debug, PartialEq)]
enum Normal {
    Number(f64),
    Text(String),
}

/// What a text is compared as; a single character needs a space beside it.
fn normal(text: &str) -> Vec<Normal> {
    let text = strip(text);
    if let Some(x) = float(&text.replace(',', "")) {
        return vec![Normal::Number(rounded_text(x, 2).parse().unwrap_or(x))];
    }
    let lower = text.to_lowercase();
    if lower.chars().count() == 1 {
        return vec![Normal::Text(format!(" {lower}")), Normal::Text(format!("{lower} "))];
    }
    vec![Normal::Text(lower)]
}

/// An open answer: right when one of the key phrases holds the right text, or one of their numbers is the right one.
fn open(item: &Item, output: &str) -> Mark {
    let truth = normal(&item.answer);
    let phrases = phrases(output);
    let mut said: Vec<String> = phrases.clone();
    said.extend(phrases.iter().flat_map(|phrase| numbers(phrase)));
    let right = said.iter().flat_map(|text| normal(text)).any(|said| match said {
        Normal::Text(said) => {
            truth.iter().any(|truth| matches!(truth, Normal::Text(text) if said.contains(text)))
        }
        Normal::Number(x) => truth.contains(&Normal::Number(x)),
    });
    Mark::read(phrases.join(" | "), right)
}

/// The shortest tail of each line after words that announce an answer; the whole text where no line has one.
fn phrases(output: &str) -> Vec<String> {
    const ANNOUNCE: [&str; 8] =
        ["could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result "];
    let text = strip(output).trim_matches('.').to_lowercase();
    // The original also splits after full stops before capitals, of which lower-case text has none.
    let lines: Vec<&str> = text.split('\n').collect();
    let mut phrases = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let equals = (i + 1 == lines.len()).then_some("=");
        let mut shortest: Option<&str> = None;
        for mark in ANNOUNCE.into_iter().chain(equals) {
            if let Some((_, tail)) = line.rsplit_once(mark) {
                let tail = strip(tail);
                let is_shorter =
                    |known: &str| known.is_empty() || tail.chars().count() < known.chars().count();
                if shortest.is_none_or(is_shorter) {
                    shortest = Some(tail);
                }
            }
        }
        if let Some(tail) =
            shortest.filter(|tail| !tail.is_empty() && ![":", ",", ".", "!", "?", ";", "'"].contains(tail))
        {
            phrases.push(tail.to_owned());
        }
    }
    if phrases.is_empty() { vec![text] } else { phrases }
}

/// Numbers with commas, with exponents, and plain ones.
fn numbers(text: &str) -> Vec<String> {
    #[expect(
        clippy::expect_used,
        reason = "three constants, and the verdicts' test compiles them; looking ahead needs this crate"
    )]
    static PATTERNS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
        [
            r"-?\b\d{1,3}(?:,\d{3})+\b",
            r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
            r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
        ]
        .map(|pattern| Regex::new(pattern).expect("a pattern"))
    });
    let found = |pattern: &Regex| -> Vec<String> {
        pattern.find_iter(text).filter_map(Result::ok).map(|found| found.as_str().to_owned()).collect()
    };
    PATTERNS.iter().flat_map(found).collect()
}
