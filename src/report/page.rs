//! The HTML of a report: a frame, the styles and scripts, and what to draw as JSON.

use reft_eval::Paired;
use serde::Serialize;

use super::data::RunData;
use crate::{
    Error,
    compare::{Row, RunComparison},
};

const STYLE: &str = include_str!("assets/report.css");
const SCRIPT: &str = include_str!("assets/report.js");
/// uPlot 1.6.32, MIT (`assets/LICENSE-uPlot`).
const PLOT_STYLE: &str = include_str!("assets/uplot.min.css");
const PLOT_SCRIPT: &str = include_str!("assets/uplot.min.js");

/// Everything that a report shows.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    pub(super) runs: &'a [RunData],
    /// The first run beside each of the others.
    pub(super) pairs: Vec<Pair>,
    /// Seconds after which the page loads itself again.
    pub(super) watch: Option<u64>,
}

/// Two runs, question by question.
#[derive(Serialize)]
pub(super) struct Pair {
    first: String,
    second: String,
    rows: Vec<PairRow>,
    /// `key: first -> second`.
    recipe: Vec<String>,
}

#[derive(Serialize)]
struct PairRow {
    benchmark: String,
    task: Option<String>,
    before: f64,
    after: f64,
    gain: f64,
    p: f64,
}

impl Pair {
    pub(super) fn new(first: &RunData, second: &RunData, compared: &RunComparison) -> Self {
        let of = |row: &Row| {
            let Paired { questions, both, only_first, gain, p_value, .. } = row.paired;
            let before = (both + only_first) as f64 / questions.max(1) as f64;
            let (benchmark, task) = (row.benchmark.clone(), row.task.clone());
            PairRow { benchmark, task, before, after: before + gain, gain, p: p_value }
        };
        Self {
            first: first.name().to_owned(),
            second: second.name().to_owned(),
            rows: compared.rows.iter().map(of).collect(),
            recipe: compared.recipe.clone(),
        }
    }
}

impl Page<'_> {
    pub(super) fn html(&self) -> Result<String, Error> {
        let names: Vec<&str> = self.runs.iter().map(RunData::name).collect();
        let title = escape(&names.join(" and "));
        let json = serde_json::to_string(self)
            .map_err(|error| Error::File { path: "report".into(), message: error.to_string() })?;
        // The JSON stands in a script element, which `</script` or `<!--` in what a model wrote would end or bend.
        let json = json.replace('<', "\\u003c");
        Ok(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\n\
             <style>{PLOT_STYLE}</style>\n<style>{STYLE}</style></head><body><main></main>\n\
             <noscript>This page draws itself with a script of its own.</noscript>\n\
             <script type=\"application/json\" id=\"data\">{json}</script>\n\
             <script>{PLOT_SCRIPT}</script>\n<script>{SCRIPT}</script></body></html>\n"
        ))
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
