//! MMBench (English, development): every question in all rotations of its options; it counts when all are right.
//!
//! TSV: `index`, `question`, `hint`, `A` to `D`, `answer`, `category`, `l2-category`, `split`; rotation k has the index
//! `index + k * 1,000,000`, and its picture may be that row's index.

use std::collections::BTreeMap;

use reft_core::StageError;
use reft_math::python::words;
use serde_json::{Map, Value};

use super::{Rules, choice};
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Table,
    item::{self, required},
    reading::letter,
    table::mean,
};

/// Indices of rotations differ by this.
const ROTATION: u64 = 1_000_000;
/// Short names that the boards use.
const SHORT: [(&str, &str); 6] = [
    ("coarse_perception", "CP"),
    ("finegrained_perception (instance-level)", "FP-S"),
    ("finegrained_perception (cross-instance)", "FP-C"),
    ("logic_reasoning", "LR"),
    ("relation_reasoning", "RR"),
    ("attribute_reasoning", "AR"),
];

pub(super) struct MmBench;

impl Rules for MmBench {
    fn source(&self) -> &'static str {
        "arXiv 2307.06281; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/multiple_choice.py; lmms-eval 0.7.3, tasks/mmbench"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::LmmsStatic]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index"]);
        // lmms-eval's Parquet writes `nan` where there is no option.
        item.options = item::columns(row);
        item.options.retain(|(_, text)| text != "nan");
        item.answer = required(row, &["answer"])?;
        item.kind = AnswerKind::Choice;
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        if harness == Harness::VlmEval {
            return choice::prompt(item, harness);
        }
        let hint = item.text("hint").filter(|hint| !hint.is_empty() && hint != "nan");
        let hint = hint.map(|hint| format!("{hint} ")).unwrap_or_default();
        let lines: Vec<String> = item.options.iter().map(|(l, text)| format!("{l}. {text}")).collect();
        format!(
            "{hint}{} There are several options:\n{}\nAnswer with the option's letter from the given choices directly.",
            item.question,
            lines.join("\n")
        )
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader == Grader::LmmsStatic {
            let found = lmms_option(item, output).or_else(|| letter::trusted(output, &item.letters()));
            let right = found.is_some_and(|letter| item.answer.chars().eq([letter]));
            return Ok(Mark::of(found.map(String::from), right));
        }
        choice::vlmeval(item, output, asked)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["split", "category", "l2-category", "L2-category"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let questions = questions(marked);
        let mut table = Table::default();
        let splits = names(&questions, |item| item.text("split").unwrap_or_else(|| "none".to_owned()));
        for split in splits {
            let of_split: Vec<&(&Item, f64)> = questions
                .iter()
                .filter(|(item, _)| item.text("split").unwrap_or_else(|| "none".to_owned()) == split)
                .collect();
            table.set(&split, "Overall", mean(of_split.iter().map(|(_, score)| *score)));
            for key in ["l2-category", "category"] {
                let mut values: Vec<String> =
                    of_split.iter().filter_map(|(item, _)| value(item, key)).collect();
                values.sort();
                values.dedup();
                for name in values {
                    let of = of_split.iter().filter(|(item, _)| value(item, key).as_ref() == Some(&name));
                    let short =
                        SHORT.iter().find(|(long, _)| *long == name).map_or(name.as_str(), |(_, s)| s);
                    table.set(&split, short, mean(of.map(|(_, score)| *score)));
                }
            }
        }
        table.set("rows alone", "Overall", mean(marked.iter().map(Marked::score)));
        table
    }
}

/// A key of a row, which lmms-eval spells with a capital.
fn value(item: &Item, key: &str) -> Option<String> {
    item.text(key).or_else(|| item.text(&key.replace("l2", "L2")))
}

/// Each question with 1 where all of its rotations are right.
fn questions<'a>(marked: &[Marked<'a>]) -> Vec<(&'a Item, f64)> {
    let mut groups: BTreeMap<u64, (&Item, f64)> = BTreeMap::new();
    for one in marked {
        let index: u64 = one.item.id.parse().unwrap_or_default();
        let group = groups.entry(index % ROTATION).or_insert((one.item, 1.0));
        if index < ROTATION {
            group.0 = one.item;
        }
        group.1 *= f64::from(u8::from(one.mark.is_right()));
    }
    groups.into_values().collect()
}

fn names(questions: &[(&Item, f64)], key: impl Fn(&Item) -> String) -> Vec<String> {
    let mut names: Vec<String> = questions.iter().map(|(item, _)| key(item)).collect();
    names.sort();
    names.dedup();
    names
}

/// What lmms-eval infers before its extractor: a letter A to E that is a word, or a word with marks; else the only option text that the output holds.
pub fn lmms_option(item: &Item, output: &str) -> Option<char> {
    const LETTERS: [char; 5] = ['A', 'B', 'C', 'D', 'E'];
    const MARKS: [(&str, &str); 13] = [
        ("", ""),
        ("", "."),
        ("", ","),
        ("", ":"),
        ("", ")"),
        ("", ")."),
        ("(", ")"),
        ("(", ")."),
        (":", ""),
        (":", ","),
        (":", "."),
        (":", ")"),
        (":", ")."),
    ];
    let by_letter = || {
        if output.contains(crate::judging::NO_REPLY) {
            return None;
        }
        let words: Vec<&str> = words(output).collect();
        MARKS.iter().find_map(|(before, after)| {
            let mut found = LETTERS
                .into_iter()
                .filter(|letter| words.contains(&format!("{before}{letter}{after}").as_str()));
            let letter = found.next().filter(|_| found.next().is_none())?;
            // `A` in a longer text may be an article.
            let is_article = before.is_empty() && after.is_empty() && words.len() > 3 && words.contains(&"A");
            (!is_article).then_some(letter)
        })
    };
    by_letter().or_else(|| {
        let lower = output.to_lowercase();
        let mut found = item.options.iter().filter(|(_, text)| lower.contains(&text.to_lowercase()));
        match (found.next(), found.next()) {
            (Some((letter, _)), None) => Some(*letter),
            _ => None,
        }
    })
}
