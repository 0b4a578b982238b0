//! We-Math (testmini): problems of two or three steps, each step and the whole asked as a question of its own.
//!
//! TSV: `ID`, `key` (`2steps_1` .. `3steps_multi`), `question`, `option`, `answer`, options in columns; Parquet with the
//! picture as `image_path`.

use std::collections::BTreeMap;

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::{Rules, choice};
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Table,
    item::{self, required},
    table::percent,
};

/// Problems of the benchmark; the published score divides by it even where some are missing.
const PROBLEMS: f64 = 525.0;

pub(super) struct WeMath;

impl Rules for WeMath {
    fn source(&self) -> &'static str {
        "arXiv 2407.01284; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/wemath.py; lmms-eval 0.7.3, tasks/wemath"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Rule, Grader::Reasoning]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "problem_id"]);
        if item.id.is_empty() {
            item.id = format!("{}/{}", required(row, &["ID"])?, required(row, &["key"])?);
        }
        item.options = item::columns(row);
        if item.options.is_empty() {
            item.options = listed(&required(row, &["option"])?);
        }
        item.answer = required(row, &["answer"])?;
        item.kind = AnswerKind::Choice;
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match (harness, item.text("requirement").filter(|request| !request.is_empty())) {
            (Harness::VlmEval | Harness::Authors | Harness::Recipe, Some(request)) => {
                let options = item.text("option").unwrap_or_default();
                format!("{}\n{options}\n{request}", item.question)
            }
            _ => choice::prompt(item, harness),
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader != Grader::Rule {
            return choice::vlmeval(item, output, asked);
        }
        let tail = strip(output.rsplit("Answer").next().unwrap_or_default());
        let bare: String = tail.chars().filter(|c| !"><:.".contains(*c)).collect();
        let found = strip(&bare).chars().next().filter(|c| ('A'..='H').contains(c));
        let right = found.is_some_and(|letter| item.answer.chars().eq([letter]));
        Ok(Mark::of(found.map(String::from), right))
    }

    fn keys(&self) -> &'static [&'static str] {
        &["key", "split", "knowledge concept"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut counts = Counts::default();
        for problem in problems(marked).values() {
            counts.add(problem);
        }
        let mut table = Table::default();
        for (row, mastered, rote) in [
            ("Strict", counts.mastered_strict, counts.rote_strict),
            ("Loose", counts.mastered_loose, counts.rote_loose),
        ] {
            let lost = 0.5 * counts.inadequate + counts.insufficient + rote;
            table.set(row, "Score", 100.0 * (PROBLEMS - lost) / PROBLEMS);
            table.set(row, "InsufficientKnowledge", counts.insufficient);
            table.set(row, "InadequateGeneralization", counts.inadequate);
            table.set(row, "CompleteMastery", mastered);
            table.set(row, "RoteMemorization", rote);
        }
        // The score of a part means nothing; how many problems there were tells.
        let found = problems(marked).len() as f64;
        table.set("questions", "Score", percent(marked));
        table.set("questions", "problems", found);
        table
    }
}

/// `A. x; B. y` as options.
fn listed(text: &str) -> Vec<(char, String)> {
    let option = |part: &str| {
        let (letter, rest) = part.trim().split_once(['.', ')'])?;
        let mut letters = letter.trim().chars();
        let letter = letters.next().filter(|c| c.is_ascii_uppercase() && letters.next().is_none())?;
        Some((letter, rest.trim().to_owned()))
    };
    text.split(';').filter_map(option).collect()
}

/// Steps in order and the whole, right or wrong.
#[derive(Default)]
struct Problem {
    steps: Vec<bool>,
    whole: Option<bool>,
}

/// Problems by number of steps and id.
fn problems(marked: &[Marked<'_>]) -> BTreeMap<(String, String), Problem> {
    let mut problems: BTreeMap<(String, String), Problem> = BTreeMap::new();
    for one in marked {
        let (Some(id), Some(key)) = (one.item.text("ID"), one.item.text("key")) else { continue };
        let Some((steps, part)) = key.split_once('_') else { continue };
        let problem = problems.entry((steps.to_owned(), id)).or_default();
        if part == "multi" {
            problem.whole = Some(one.mark.is_right());
        } else {
            problem.steps.push(one.mark.is_right());
        }
    }
    problems
}

#[derive(Default)]
struct Counts {
    insufficient: f64,
    inadequate: f64,
    mastered_strict: f64,
    mastered_loose: f64,
    rote_strict: f64,
    rote_loose: f64,
}

impl Counts {
    fn add(&mut self, problem: &Problem) {
        let Some(whole) = problem.whole else { return };
        let all = problem.steps.iter().all(|right| *right);
        let any = problem.steps.iter().any(|right| *right);
        let one = |yes: bool| f64::from(u8::from(yes));
        self.insufficient += one(!all && !whole);
        self.inadequate += one(all && !whole);
        self.mastered_strict += one(all && whole);
        self.mastered_loose += one(any && whole);
        self.rote_strict += one(!all && whole);
        self.rote_loose += one(!any && whole);
    }
}
