//! RefCOCO, RefCOCO+, RefCOCOg: the box of what a phrase describes.
//!
//! Rows: `question_id`, `answer` (phrases), `bbox` (left, top, width, height in pixels), `image`; TSV with `question`,
//! `category` (`RefCOCO+ testA`) or `split`, `bbox_x1` to `bbox_y2`, `width`, `height`.

use reft_core::StageError;
use serde_json::{Map, Value};

use super::Rules;
use crate::{
    AnswerKind, Asked, Grader, Harness, Item, Mark, Marked, Table,
    item::{self, first, required},
    reading::region::{self, Corners},
    table::{by, mean, percent},
};

/// Overlap from which a box is right.
const THRESHOLD: f64 = 0.5;
/// Splits that the average is made of, in the order of reports.
const SPLITS: [&str; 8] = [
    "RefCOCO_val",
    "RefCOCO_testA",
    "RefCOCO_testB",
    "RefCOCO+_val",
    "RefCOCO+_testA",
    "RefCOCO+_testB",
    "RefCOCOg_val",
    "RefCOCOg_test",
];

pub(super) struct RefCoco;

impl Rules for RefCoco {
    fn source(&self) -> &'static str {
        "VLMEvalKit (ms-vlmeval 0.0.20), dataset/refcoco.py; lmms-eval 0.7.3, tasks/refcoco and tasks/refcoco_grounding"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::LmmsGrounding, Grader::VlmEval, Grader::LmmsRec]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "question_id"]);
        if let Some(index) = item.text("index").filter(|index| !index.contains('_')) {
            item.id = format!("{}_{index}", split(&item));
        }
        let number = |name: &str| {
            required(row, &[name])?.trim().parse::<f64>().map_err(|_| format!("column `{name}` is no number"))
        };
        let corners = if first(row, &["bbox_x1"]).is_some() {
            [number("bbox_x1")?, number("bbox_y1")?, number("bbox_x2")?, number("bbox_y2")?]
        } else {
            let sides: Vec<f64> = item::texts(row, "bbox")
                .unwrap_or_default()
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect();
            let [x, y, width, height] = sides[..] else {
                return Err("there is neither `bbox_x1` .. `bbox_y2` nor a `bbox` of four numbers".to_owned());
            };
            [x, y, x + width, y + height]
        };
        let size = (number("width")?, number("height")?);
        item.answer = format!("{corners:?}");
        if let Some(phrases) = item::texts(row, "answer") {
            item.question = phrases.into_iter().next().unwrap_or_default();
        }
        item.kind = AnswerKind::Box { corners, size };
        Ok(item)
    }

    fn prompt(&self, item: &Item, harness: Harness) -> String {
        let is_request = item.question.contains("bounding box");
        match harness {
            _ if is_request => item.question.clone(),
            Harness::Lmms => format!(
                "Locate every object that matches the description \"{}\" in the image. Report bbox coordinates in JSON format.",
                item.question
            ),
            Harness::VlmEval | Harness::Authors | Harness::Recipe => format!(
                "Please provide the bounding box coordinate of the region this sentence describes: {}",
                item.question
            ),
        }
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        _asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        let AnswerKind::Box { corners, size } = item.kind else { return Ok(Mark::default()) };
        Ok(match grader {
            Grader::VlmEval => vlmeval(corners, size, output),
            Grader::LmmsRec => fractions(corners, size, output),
            _ => best(corners, size, output),
        })
    }

    fn keys(&self) -> &'static [&'static str] {
        &["split", "category"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let groups = by(marked, |item| vec![split(item)]);
        let mut ordered: Vec<&(String, Vec<Marked<'_>>)> =
            SPLITS.iter().filter_map(|split| groups.iter().find(|(name, _)| name == split)).collect();
        let known = ordered.len();
        let mut others: Vec<_> = groups.iter().filter(|(name, _)| !SPLITS.contains(&name.as_str())).collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        ordered.extend(others);
        let overlap =
            |members: &[Marked<'_>]| mean(members.iter().map(|one| one.mark.overlap.unwrap_or(0.0)));
        // The mean of the known splits, or of all rows where none is known.
        let mut table = Table::default();
        if known > 0 {
            let of = &ordered[..known];
            table.set("Average", "Precision@1", mean(of.iter().map(|(_, members)| percent(members))));
            table.set("Average", "Average IoU", mean(of.iter().map(|(_, members)| overlap(members))));
            table.set(
                "Average",
                "Samples",
                of.iter().map(|(_, members)| members.len()).sum::<usize>() as f64,
            );
        } else {
            table.set("Average", "Precision@1", percent(marked));
            table.set("Average", "Average IoU", overlap(marked));
            table.set("Average", "Samples", marked.len() as f64);
        }
        for (name, members) in ordered {
            table.set(name, "Precision@1", percent(members));
            table.set(name, "Average IoU", overlap(members));
            table.set(name, "Samples", members.len() as f64);
        }
        table
    }
}

fn split(item: &Item) -> String {
    let named = item.text("split").or_else(|| item.text("category").map(|name| name.replace(' ', "_")));
    named.unwrap_or_else(|| "RefCOCO".to_owned())
}

fn mark(found: Option<Corners>, overlap: f64) -> Mark {
    let answer = found.map(|corners| format!("{corners:?}"));
    // The originals compare `>=`; one that is no number is not.
    let right = overlap >= THRESHOLD;
    Mark { overlap: Some(if overlap.is_nan() { 0.0 } else { overlap }), ..Mark::of(answer, right) }
}

fn vlmeval(truth: Corners, size: (f64, f64), output: &str) -> Mark {
    let found = region::first(output).map(|corners| region::guessed_pixels(corners, size));
    mark(found, found.map_or(0.0, |found| region::overlap(found, truth)))
}

fn fractions(truth: Corners, (width, height): (f64, f64), output: &str) -> Mark {
    let found = region::fractions(output);
    let unit = [truth[0] / width, truth[1] / height, truth[2] / width, truth[3] / height];
    mark((found != [0.0; 4]).then_some(found), region::signed_overlap(unit, found))
}

/// The best of all boxes, each as pixels and as thousandths.
fn best(truth: Corners, (width, height): (f64, f64), output: &str) -> Mark {
    let boxes = region::all(output).into_iter().flat_map(|c| {
        let scale = |x: f64, side: f64| x / 1000.0 * side;
        [c, [scale(c[0], width), scale(c[1], height), scale(c[2], width), scale(c[3], height)]]
    });
    let scored = boxes.map(|corners| (corners, region::overlap(corners, truth)));
    match scored.reduce(|best, next| if next.1 > best.1 { next } else { best }) {
        Some((found, overlap)) => mark(Some(found), overlap),
        None => mark(None, 0.0),
    }
}
