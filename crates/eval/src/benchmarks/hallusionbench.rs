//! HallusionBench: yes or no about figures that mislead; figures and questions come in groups.
//!
//! Rows: `category` (VD, VS), `subcategory`, `set_id`, `figure_id`, `question_id`, `gt_answer` ("0", "1"); TSV with an
//! `index` like `VD_figure_1_0_0_0`, whose last three numbers are set, figure and question.

use reft_core::StageError;
use serde_json::{Map, Value};

use super::{
    Rules,
    pope::{vlmeval, yes_no_answer},
};
use crate::{
    AnswerKind, Asked, Grader, Item, Mark, Marked, Table,
    item::required,
    table::{by, mean, percent},
};

pub(super) struct HallusionBench;

impl Rules for HallusionBench {
    fn source(&self) -> &'static str {
        "arXiv 2310.14566; VLMEvalKit (ms-vlmeval 0.0.20), dataset/utils/yorn.py; lmms-eval 0.7.3, tasks/hallusion_bench"
    }

    fn graders(&self) -> &'static [Grader] {
        &[Grader::VlmEval, Grader::Intern]
    }

    fn item(&self, row: &Map<String, Value>) -> Result<Item, String> {
        let mut item = Item::new(row, &["index", "id"]);
        if item.id.is_empty() {
            let columns = ["category", "subcategory", "visual_input", "set_id", "figure_id", "question_id"];
            let parts: Vec<String> =
                columns.iter().map(|name| required(row, &[name])).collect::<Result<_, _>>()?;
            item.id = parts.join("_");
        }
        item.answer = yes_no_answer(&required(row, &["answer", "gt_answer"])?)?;
        item.kind = AnswerKind::YesNo;
        Ok(item)
    }

    fn grade(
        &self,
        grader: Grader,
        item: &Item,
        output: &str,
        asked: &mut Asked<'_>,
    ) -> Result<Mark, StageError> {
        if grader == Grader::Intern {
            let said = if output.to_lowercase().contains("yes") { "Yes" } else { "No" };
            return Ok(Mark::read(said, said == item.answer));
        }
        vlmeval(item, output, asked)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["category", "subcategory", "l2-category"]
    }

    fn table(&self, _grader: Grader, marked: &[Marked<'_>]) -> Table {
        let mut table = Table::default();
        let mut row = |name: &str, members: &[Marked<'_>]| {
            table.set(name, "aAcc", percent(members));
            // Which of the three numbers at the end of an index tells a figure, which a question.
            for (column, number) in [("fAcc", 4), ("qAcc", 5)] {
                let groups = by(members, |item| group(item, number).into_iter().collect());
                let whole =
                    |group: &[Marked<'_>]| f64::from(u8::from(group.iter().all(|one| one.mark.is_right())));
                table.set(name, column, 100.0 * mean(groups.iter().map(|(_, group)| whole(group))));
            }
        };
        row("Overall", marked);
        for key in ["category", "subcategory", "l2-category"] {
            for (name, members) in by(marked, |item| item.text(key).into_iter().collect()) {
                row(&name, &members);
            }
        }
        table
    }
}

/// Subcategory, set, and figure or question.
fn group(item: &Item, number: usize) -> Option<String> {
    let parts: Vec<&str> = item.id.split('_').collect();
    let kind = item.text("l2-category").or_else(|| item.text("subcategory")).unwrap_or_default();
    Some(format!("{kind}_{}_{}", parts.get(3)?, parts.get(number)?))
}
