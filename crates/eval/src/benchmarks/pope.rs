//! POPE: is an object in the picture? Yes or no.
//!
//! Rows: `question_id`, `question`, `answer`, `category` (random, popular, adversarial), `image`; TSV likewise.

use reft_core::StageError;
use reft_math::python::strip;
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Reason, Table,
    item::required,
    reading::yes_no,
    table::{by, percent},
};

pub(super) struct Pope;

impl Rules for Pope {
    fn source(&self) -> &'static str {
        "arXiv 2305.10355; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/yorn.py; lmms-eval 0.7.3, tasks/pope"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Lmms]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id", "question_id"]);
        item.answer = yes_no_answer(&required(row, &["answer"])?)?;
        item.kind = AnswerKind::YesNo;
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        match harness {
            Harness::Lmms => format!("{}\nAnswer the question using a single word or phrase.", item.question),
            Harness::VlmEval | Harness::Authors | Harness::Recipe => item.question.clone(),
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader == Grader::Lmms {
            let lower = output.to_lowercase();
            let said = strip(&lower);
            return Ok(Mark::read(said, said == item.answer.to_lowercase()));
        }
        vlmeval(item, output, asked)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["category"]
    }

    fn values(&self, item: &Item, key: &str) -> Vec<String> {
        item.text(key)
            .into_iter()
            .flat_map(|all| all.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn table(&self, grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut table = Table::default();
        if grader == Grader::Lmms {
            rates(&mut table, "Overall", marked, 1.0);
            // As published there: the share of yes among the right answers. The paper means the model's answers.
            let yes = marked.iter().filter(|one| one.item.answer == "Yes").count();
            table.set("Overall", "yes_ratio", yes as f64 / marked.len().max(1) as f64);
            return table;
        }
        let kinds = by(marked, |item| self.values(item, "category"));
        // A row counts for each of its categories, in the total too.
        let all: Vec<Marked<'_>> = kinds.iter().flat_map(|(_, members)| members.iter().copied()).collect();
        rates(&mut table, "Overall", if all.is_empty() { marked } else { &all }, 100.0);
        for (name, members) in &kinds {
            rates(&mut table, name, members, 100.0);
        }
        table
    }
}

/// F1, accuracy, precision and recall of yes.
fn rates(table: &mut Table, row: &str, marked: &[Marked<'_>], scale: f64) {
    let count = |truth: &str, said: bool| {
        let is_yes = |one: &&Marked<'_>| {
            one.mark.answer.as_deref().is_some_and(|answer| answer.eq_ignore_ascii_case("yes")) == said
        };
        marked.iter().filter(|one| one.item.answer == truth).filter(is_yes).count() as f64
    };
    let (hits, false_alarms, misses) = (count("Yes", true), count("No", true), missed(marked, scale));
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let (precision, recall) = (share(hits, hits + false_alarms), share(hits, hits + misses));
    table.set(row, "f1", scale * share(2.0 * precision * recall, precision + recall));
    table.set(row, "acc", scale * percent(marked) / 100.0);
    table.set(row, "precision", scale * precision);
    table.set(row, "recall", scale * recall);
}

/// Right answers of yes that were not given: lmms-eval counts those that say no, VLMEvalKit all others.
fn missed(marked: &[Marked<'_>], scale: f64) -> f64 {
    let is_lmms = scale == 1.0;
    let said = |one: &&Marked<'_>| match one.mark.answer.as_deref() {
        Some(answer) if answer.eq_ignore_ascii_case("yes") => false,
        Some(answer) => !is_lmms || answer.eq_ignore_ascii_case("no"),
        None => !is_lmms,
    };
    marked.iter().filter(|one| one.item.answer == "Yes").filter(said).count() as f64
}

/// `Yes` or `No`, however it is written.
pub(super) fn yes_no_answer(text: &str) -> Result<String, String> {
    match text.trim().to_lowercase().as_str() {
        "yes" | "1" => Ok("Yes".to_owned()),
        "no" | "0" => Ok("No".to_owned()),
        _ => Err(format!("the answer `{text}` is neither yes nor no")),
    }
}

/// VLMEvalKit: yes or no among the words, else the judge's word.
pub(super) fn vlmeval(item: &Item, output: &str, asked: &mut Asked<'_>) -> Result<Mark, StageError> {
    const TRIES: usize = 5;
    let word = |said: bool| if said { "Yes" } else { "No" };
    if let Some(said) = yes_no::read(output) {
        return Ok(Mark::read(word(said), word(said) == item.answer));
    }
    let prompt = crate::judging::fill(
        include_str!("../prompts/yes_no.txt"),
        &[("question", &item.question), ("answer", output)],
    );
    Ok(match asked.until(&prompt, TRIES, yes_no::read)? {
        Ok(said) => Mark::read(word(said), word(said) == item.answer).with(Reason::Judged),
        Err(reason) => Mark { answer: Some("Unknown".to_owned()), ..Mark::because(reason) },
    })
}
