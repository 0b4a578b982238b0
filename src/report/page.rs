//! The HTML of a report.

use std::fmt::Write as _;

use reft_eval::{EvalReport, Interval};

use super::{Curve, data_uri};
use crate::{
    examples::{Answer, Comparison},
    inspect::Inspection,
};

/// Everything that a report shows.
pub(super) struct Page<'a> {
    pub(super) inspection: &'a Inspection,
    pub(super) curves: &'a [Curve],
    pub(super) compared: Vec<Comparison>,
    pub(super) phases: Vec<(String, Vec<Shown>)>,
}

/// An answer with its step and its image.
pub(super) struct Shown {
    pub(super) step: String,
    pub(super) answer: Answer,
    /// A `data:` address.
    pub(super) image: Option<String>,
}

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#222}\
h1,h2,h3{line-height:1.2}table{border-collapse:collapse;margin:1rem 0}\
td,th{border-bottom:1px solid #ddd;padding:.3rem .8rem;text-align:left}td.n{text-align:right}\
.i{color:#777;font-size:85%}figure{margin:1rem 0}svg{max-width:100%;height:auto}\
.a{border:1px solid #ddd;border-radius:6px;padding:.8rem;margin:.8rem 0;display:flex;gap:1rem}\
.a img{width:128px;height:128px;object-fit:contain;image-rendering:pixelated;background:#eee}\
.a div{flex:1;min-width:0}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f6f6;padding:.5rem;margin:.3rem 0}\
.right{color:#00704f}.wrong{color:#b04000}";

impl Page<'_> {
    pub(super) fn html(&self) -> String {
        let summary = &self.inspection.summary;
        let state = if summary.finished { "finished" } else { "not finished" };
        let title = escape(&summary.name);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{state}; directory <code>{}</code></p>\n",
            escape(&self.inspection.run.display().to_string()),
        );
        self.results(&mut out);
        self.benchmarks(&mut out);
        self.draw_curves(&mut out);
        self.comparisons(&mut out);
        self.completions(&mut out);
        self.left_out(&mut out);
        out.push_str("</body></html>\n");
        out
    }

    fn results(&self, out: &mut String) {
        let results = &self.inspection.results;
        let mut columns: Vec<(&str, String)> = Vec::new();
        for (benchmark, name, _) in results.iter().flat_map(|(_, reports)| reports).flat_map(cells) {
            if !columns.contains(&(benchmark, name.clone())) {
                columns.push((benchmark, name));
            }
        }
        if columns.is_empty() {
            return;
        }
        out.push_str("<h2>Results</h2>\n<p>Accuracy in % with its 95 % interval.</p>\n<table><tr><th></th>");
        for (benchmark, name) in &columns {
            put(out, format_args!("<th>{}<br>{}</th>", escape(benchmark), escape(name)));
        }
        out.push_str("</tr>\n");
        for (phase, reports) in results {
            put(out, format_args!("<tr><td>{}</td>", escape(phase)));
            for column in &columns {
                let cell = reports
                    .iter()
                    .flat_map(cells)
                    .find(|(benchmark, name, _)| (*benchmark, name) == (column.0, &column.1));
                match cell {
                    Some((_, _, (accuracy, Interval { low, high }))) => put(
                        out,
                        format_args!(
                            "<td class=\"n\">{:.1} <span class=\"i\">{:.1}&ndash;{:.1}</span></td>",
                            100.0 * accuracy,
                            100.0 * low,
                            100.0 * high
                        ),
                    ),
                    None => out.push_str("<td></td>"),
                }
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table>\n");
    }

    /// What the benchmarks of the field say of themselves: grader, prompt, their own tables, answers without a verdict.
    fn benchmarks(&self, out: &mut String) {
        for (phase, reports) in &self.inspection.results {
            for report in reports {
                let Some(published) = &report.published else { continue };
                let (phase, name) = (escape(phase), escape(&report.benchmark));
                let text = published.to_string();
                put(out, format_args!("<h3>{name}, {phase}</h3>\n<pre>{}</pre>\n", escape(&text)));
            }
        }
    }

    fn draw_curves(&self, out: &mut String) {
        if !self.curves.is_empty() {
            out.push_str("<h2>Curves</h2>\n");
        }
        for curve in self.curves {
            put(out, format_args!("<figure>{}</figure>\n", curve.svg));
        }
    }

    fn left_out(&self, out: &mut String) {
        for what in &self.inspection.damaged {
            put(out, format_args!("<p class=\"wrong\">left out: {}</p>\n", escape(what)));
        }
    }

    fn comparisons(&self, out: &mut String) {
        if !self.compared.is_empty() {
            out.push_str("<h2>Before and after</h2>\n");
        }
        for compared in &self.compared {
            let image = compared.picture.as_ref().and_then(data_uri);
            open_answer(out, image.as_deref(), &compared.before.1);
            for (phase, answer) in [&compared.before, &compared.after] {
                completion(out, phase, answer);
            }
            out.push_str("</div></div>\n");
        }
    }

    fn completions(&self, out: &mut String) {
        for (phase, shown) in &self.phases {
            put(out, format_args!("<h2>Completions of phase {}</h2>\n", escape(phase)));
            for one in shown {
                open_answer(out, one.image.as_deref(), &one.answer);
                completion(out, &one.step, &one.answer);
                out.push_str("</div></div>\n");
            }
        }
    }
}

/// Benchmark, task and form, accuracy and interval.
fn cells(report: &EvalReport) -> impl Iterator<Item = (&str, String, (f64, Interval))> {
    report.rows.iter().map(|row| {
        let name = format!("{} {}", row.task, row.form);
        (report.benchmark.as_str(), name, (row.score.accuracy, row.score.interval))
    })
}

fn open_answer(out: &mut String, image: Option<&str>, answer: &Answer) {
    out.push_str("<div class=\"a\">");
    if let Some(image) = image {
        put(out, format_args!("<img src=\"{image}\" alt=\"\">"));
    }
    let prompt = answer.prompt.replace("<image>", "");
    put(
        out,
        format_args!(
            "<div><b>{}</b> {}<pre>{}</pre>solution: <code>{}</code>",
            escape(&answer.task),
            escape(&answer.sample),
            escape(prompt.trim()),
            escape(&answer.solution)
        ),
    );
}

fn completion(out: &mut String, label: &str, answer: &Answer) {
    let class = match answer.right {
        Some(true) => "right",
        Some(false) => "wrong",
        None => "i",
    };
    put(
        out,
        format_args!(
            "<br><b>{}</b> <span class=\"{class}\">{}</span><pre>{}</pre>",
            escape(label),
            escape(&answer.mark),
            escape(&answer.completion)
        ),
    );
}

/// Writing to a string cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
