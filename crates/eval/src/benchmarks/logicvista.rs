//! LogicVista: puzzles whose options are in the picture; one letter or several.
//!
//! TSV: `index`, `question`, `answer` (letters joined with `, `), `skill`, `image`.

use reft_core::StageError;
use serde_json::{Map, Value};

use super::Rules;
use crate::{AnswerKind, Asked, Grader, Item, Mark, Marked, Reason, Table, item::required, table::percent};

/// Times that the judge is asked.
const TRIES: usize = 5;
/// Skills, in the order of reports.
const SKILLS: [&str; 5] = ["inductive", "deductive", "numerical", "spatial", "mechanical"];

pub(super) struct LogicVista;

impl Rules for LogicVista {
    fn source(&self) -> &'static str {
        "arXiv 2407.04973; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/logicvista.py"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Reasoning]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index"]);
        item.answer = required(row, &["answer"])?;
        item.kind = AnswerKind::Choice;
        Ok(item)
    }

    fn grade(
        &self,
        _grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        let prompt = crate::judging::fill(
            include_str!("../prompts/letters.txt"),
            &[("question", &item.question), ("answer", output)],
        );
        let said = asked.until(&prompt, TRIES, |reply| {
            let is_capitals =
                !reply.is_empty() && reply.chars().all(|c| c.is_alphabetic() && c.is_uppercase());
            (is_capitals && !reply.contains(crate::judging::NO_REPLY)).then(|| reply.to_owned())
        })?;
        Ok(match said {
            Ok(letters) => {
                let right = sorted(letters.chars()) == sorted(item.answer.split(", ").flat_map(str::chars));
                Mark::read(letters, right).with(Reason::Judged)
            }
            Err(reason) => Mark { answer: Some(String::new()), ..Mark::because(reason) },
        })
    }

    fn keys(&self) -> &'static [&'static str] {
        &["skill"]
    }

    fn values(&self, item: &Item, key: &str) -> Vec<String> {
        let skills = item.text(key).unwrap_or_default();
        SKILLS.into_iter().filter(|skill| skills.contains(skill)).map(str::to_owned).collect()
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut table = Table::default();
        let mut row = |name: &str, members: &[Marked<'_>]| {
            table.set(name, "acc", percent(members));
            table.set(name, "hit", members.iter().map(Marked::score).sum());
            table.set(name, "tot", members.len() as f64);
        };
        row("Overall", marked);
        for skill in SKILLS {
            let has = |one: &&Marked<'_>| one.item.text("skill").is_some_and(|skills| skills.contains(skill));
            let members: Vec<Marked<'_>> = marked.iter().filter(has).copied().collect();
            row(skill, &members);
        }
        table
    }

    fn needs_judge(&self, grader: Grader) -> bool {
        grader == Grader::VlmEval
    }
}

fn sorted(letters: impl Iterator<Item = char>) -> Vec<char> {
    let mut letters: Vec<char> = letters.flat_map(char::to_lowercase).collect();
    letters.sort_unstable();
    letters
}
