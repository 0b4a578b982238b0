//! Published tables over made-up verdicts.

use reft_eval::{Grader, Item, Mark, Marked, Published, Table};
use serde_json::{Map, Value};

use super::{Difference, Outcome};

/// A cell of a published table, and ours.
struct Cell {
    what: String,
    expected: f64,
    ours: Option<f64>,
}

pub(super) fn compare(all: &Map<String, Value>, outcome: &mut Outcome) -> Result<(), String> {
    for (name, entry) in all {
        let (benchmark, grader) = name.split_once('/').unwrap_or((name, "vlmeval"));
        let published: Published =
            benchmark.parse().map_err(|e: reft_eval::UnknownBenchmark| e.to_string())?;
        let grader: Grader = grader.parse().map_err(|e: reft_eval::UnknownGrader| e.to_string())?;
        let rows = entry["rows"].as_array().ok_or_else(|| format!("{name} has no rows"))?;
        let marked: Vec<(Item, Mark)> = rows
            .iter()
            .enumerate()
            .filter_map(|(i, row)| Some(marked(published, i, row.as_object()?)))
            .collect();
        let marked: Vec<Marked<'_>> = marked.iter().map(|(item, mark)| Marked { item, mark }).collect();
        let table = published.table(grader, &marked);
        for Cell { what, expected, ours } in cells(published, grader, entry, &table) {
            let agrees = ours.is_some_and(|ours| (ours - expected).abs() < 1e-6 * expected.abs().max(1.0));
            outcome.count(benchmark, &format!("{grader} table"), agrees);
            if !agrees {
                outcome.differences.push(Difference {
                    place: format!("{name} table"),
                    prediction: what,
                    expected: expected.to_string(),
                    ours: format!("{ours:?}"),
                    wanted: None,
                });
            }
        }
    }
    Ok(())
}

/// A row of verdicts as an item and its mark.
fn marked(published: Published, at: usize, row: &Map<String, Value>) -> (Item, Mark) {
    let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let score = ["hit", "score", "correct", "true_false"].iter().find_map(|name| match row.get(*name)? {
        Value::Bool(right) => Some(f64::from(u8::from(*right))),
        value => value.as_f64(),
    });
    let is_right = |given: Option<String>| given.is_some() && given == text("answer");
    let parsed = row.get("parsed_pred").and_then(|all| all[0].as_str()).map(str::to_owned);
    let score = score.unwrap_or_else(|| f64::from(u8::from(is_right(text("res")) || is_right(parsed))));
    let index = row.get("index").map_or_else(
        || at.to_string(),
        |index| index.as_str().map_or_else(|| index.to_string(), str::to_owned),
    );
    let answer = text("answer").or_else(|| text("ground_truth")).unwrap_or_default();
    let mut item = Item {
        id: text("id").unwrap_or(index),
        answer: if published == Published::Pope { capital(&answer) } else { answer },
        row: row.clone(),
        ..Item::default()
    };
    let mut mark = Mark {
        score: score as f32,
        answer: text("extracted").or_else(|| text("prediction")),
        ..Mark::default()
    };
    // The reference grades the boxes of this one itself.
    if published == Published::RefCoco
        && let Ok(graded) = published.item(row)
    {
        let prediction = text("prediction").unwrap_or_default();
        if let Ok(graded_mark) =
            published.grade(Grader::VlmEval, &graded, &prediction, &mut reft_eval::Asked::new(None))
        {
            (item, mark) = (graded, graded_mark);
        }
    }
    (item, mark)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Cells of the published table with ours.
fn cells(published: Published, grader: Grader, entry: &Value, ours: &Table) -> Vec<Cell> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let cell = |row: &str, column: &str, expected: f64| Cell {
        what: format!("{row} {column}"),
        expected,
        ours: ours.get(row, column),
    };
    match (published, grader) {
        (Published::MathVista | Published::Mmmu | Published::MmStar, Grader::Lmms) => {
            let column = if published == Published::MmStar { "average" } else { "acc" };
            vec![cell("Overall", column, number(&entry["overall"]))]
        }
        (Published::Pope, Grader::Lmms) => [
            ("accuracy", "acc"),
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1_score", "f1"),
            ("yes_ratio", "yes_ratio"),
        ]
        .iter()
        .map(|(name, column)| cell("Overall", column, number(&entry[name])))
        .collect(),
        (Published::MmVet, _) => {
            let rows = entry["tables"].as_array().into_iter().flatten().filter_map(Value::as_array).flatten();
            rows.flat_map(|row| {
                // The second table repeats single abilities as the sums of the first.
                let name = row["Category"].as_str().unwrap_or_default();
                ["acc", "tot"].map(|column| cell(name, column, number(&row[column])))
            })
            .collect()
        }
        (Published::WeMath, _) => we_math(entry, ours),
        _ => {
            let rows = entry["table"].as_array().into_iter().flatten().filter_map(Value::as_object);
            rows.flat_map(|row| {
                let name = ["Task&Skill", "Subject", "split", "Split", "Setting"]
                    .iter()
                    .find_map(|key| row.get(*key)?.as_str())
                    .unwrap_or_default();
                row.iter()
                    // How often no judge was needed is no score.
                    .filter(|(column, value)| value.is_number() && !column.starts_with("prefetch"))
                    .map(move |(column, expected)| {
                        let is_f1 = published == Published::Pope && column == "Overall";
                        cell(name, if is_f1 { "f1" } else { column }, number(expected))
                    })
            })
            .collect()
        }
    }
}

/// Counts in brackets, and scores in percent to two decimals.
fn we_math(entry: &Value, ours: &Table) -> Vec<Cell> {
    let text = |name: &str, kind: &str| {
        entry["vlmeval"][format!("{name} ({kind})")]["0"].as_str().unwrap_or_default().to_owned()
    };
    let mut cells = Vec::new();
    for kind in ["Strict", "Loose"] {
        for name in
            ["InsufficientKnowledge", "InadequateGeneralization", "CompleteMastery", "RoteMemorization"]
        {
            let count = text(name, kind)
                .split_once('(')
                .and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
            cells.push(Cell {
                what: format!("{kind} {name}"),
                expected: count.unwrap_or(f64::NAN),
                ours: ours.get(kind, name),
            });
        }
        cells.push(Cell {
            what: format!("{kind} Score"),
            expected: text("Score", kind).trim_end_matches('%').parse().unwrap_or(f64::NAN),
            ours: ours.get(kind, "Score").map(|score| (score * 100.0).round() / 100.0),
        });
    }
    cells
}
