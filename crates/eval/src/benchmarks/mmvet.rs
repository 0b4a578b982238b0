//! MM-Vet: free answers that need several abilities, scored 0 to 1 by a judge.
//!
//! The authors' JSON by id: `imagename`, `question`, `answer`, `capability`; TSV with `category`, comma-joined.

use reft_core::StageError;
use reft_math::python::{float, strip};
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::{self, required},
    table::{by, percent},
};

/// Times that the judge is asked.
const TRIES: usize = 5;
/// Abilities, in the order of reports.
const ABILITIES: [&str; 6] = ["rec", "ocr", "know", "gen", "spat", "math"];

pub(super) struct MmVet;

impl Rules for MmVet {
    fn source(&self) -> &'static str {
        "yuweihao/MM-Vet at acde843, mm-vet_evaluator.py; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/mmvet.py"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Authors]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["question_id", "index", "id"]);
        item.answer = required(row, &["answer"])?;
        item.kind = AnswerKind::Prose;
        Ok(item)
    }

    fn prompt(&self, item: &Item, _harness: Harness) -> String {
        item.question.clone()
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        let prompt = format!("{}{}", include_str!("../prompts/mm_vet.txt"), tail(item, output));
        let score = asked.until(&prompt, TRIES, |reply| {
            let said =
                if grader == Grader::Authors { reply.split(' ').next().unwrap_or_default() } else { reply };
            // `nan` passes in the originals; here it is no score.
            float(strip(said)).filter(|score| (0.0..=1.0).contains(score))
        })?;
        Ok(match score {
            Ok(score) => {
                Mark { score: score as f32, answer: Some(output.to_owned()), ..Mark::because(Reason::Judged) }
            }
            Err(reason) => Mark { answer: Some(output.to_owned()), ..Mark::because(reason) },
        })
    }

    fn keys(&self) -> &'static [&'static str] {
        &["ability"]
    }

    fn values(&self, item: &Item, _key: &str) -> Vec<String> {
        let abilities = abilities(item);
        abilities.split(',').filter(|ability| !ability.is_empty()).map(str::to_owned).collect()
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut table = Table::default();
        let mut row = |name: &str, members: &[Marked<'_>]| {
            table.set(name, "acc", percent(members));
            table.set(name, "tot", members.len() as f64);
        };
        row("Overall", marked);
        for ability in ABILITIES {
            let needs = |one: &&Marked<'_>| abilities(one.item).contains(ability);
            // VLMEvalKit adds abilities and combinations up under one name, so that a question that needs a single ability
            // counts twice for it.
            let alone = |one: &&Marked<'_>| abilities(one.item) == ability;
            let members: Vec<Marked<'_>> =
                marked.iter().filter(needs).chain(marked.iter().filter(alone)).copied().collect();
            row(ability, &members);
        }
        for (name, members) in by(marked, |item| vec![abilities(item).replace(',', "_")]) {
            if name.contains('_') {
                row(&name, &members);
            }
        }
        table
    }

    fn needs_judge(&self, _grader: Grader) -> bool {
        true
    }
}

/// The abilities that a question needs, comma-joined.
fn abilities(item: &Item) -> String {
    item.text("category")
        .or_else(|| item::texts(&item.row, "capability").map(|all| all.join(",")))
        .or_else(|| item.text("capability"))
        .unwrap_or_default()
}

/// Question, right answer and prediction, between marks, for the judge to go on.
fn tail(item: &Item, output: &str) -> String {
    let truth = item.answer.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ");
    [&item.question, &truth, output, ""].join(" | ")
}
