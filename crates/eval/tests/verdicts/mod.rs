//! Compares our marks with executed verdicts of the published graders. Shared by a test and by `examples/verdicts.rs`.

mod aggregates;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use reft_core::StageError;
use reft_eval::{
    Asked, Grader, Item, JudgeModel, Mark, Published, lmms_option, reasoning_format, score_extraction,
};
use serde_json::{Map, Value};

/// Differences that docs/BENCHMARKS_VLM.md lists, by benchmark, grader and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A judge that says `nan` gives no score.
    NotANumber,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Agreeing and all, by benchmark and grader.
    counts: BTreeMap<(String, String), (usize, usize)>,
    differences: Vec<Difference>,
}

struct Difference {
    place: String,
    prediction: String,
    expected: String,
    ours: String,
    wanted: Option<Wanted>,
}

impl Outcome {
    /// Differences that are not listed.
    pub(crate) fn unlisted(&self) -> usize {
        self.differences.iter().filter(|difference| difference.wanted.is_none()).count()
    }

    /// All verdicts.
    pub(crate) fn all(&self) -> usize {
        self.counts.values().map(|(_, all)| all).sum()
    }

    fn count(&mut self, benchmark: &str, grader: &str, agrees: bool) {
        let (agreeing, all) = self.counts.entry((benchmark.to_owned(), grader.to_owned())).or_default();
        *agreeing += usize::from(agrees);
        *all += 1;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            let listed = if difference.wanted.is_some() { " (listed)" } else { "" };
            let Difference { place, prediction, expected, ours, .. } = difference;
            writeln!(
                f,
                "{place}{listed}\n  prediction {prediction}\n  expected   {expected}\n  ours       {ours}"
            )?;
        }
        for ((benchmark, grader), (agreeing, all)) in &self.counts {
            writeln!(f, "{benchmark:<16} {grader:<16} {agreeing:>5} / {all}")?;
        }
        let agreeing: usize = self.counts.values().map(|(agreeing, _)| agreeing).sum();
        write!(f, "{agreeing} of {} agree, {} differences are not listed", self.all(), self.unlisted())
    }
}

/// Replies in order, then the last one again.
struct Scripted {
    replies: Vec<String>,
    next: AtomicUsize,
}

impl JudgeModel for Scripted {
    fn reply(&self, _prompt: &str, _attempt: usize) -> Result<String, StageError> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).min(self.replies.len() - 1);
        Ok(self.replies[at].clone())
    }
}

/// Compares everything in a folder.
pub(crate) fn run(dir: &Path) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut seen = 0;
    for published in Published::ALL {
        let path = dir.join(format!("{published}.jsonl"));
        let Ok(text) = fs::read_to_string(&path) else { continue };
        seen += 1;
        for line in text.lines() {
            let case: Value = serde_json::from_str(line).map_err(|e| format!("`{}`: {e}", path.display()))?;
            // The original runs these answers as programs.
            if case["kind"] == "code" {
                continue;
            }
            compare(published, &case, &mut outcome)
                .map_err(|message| format!("`{}` case {}: {message}", path.display(), case["id"]))?;
        }
    }
    if seen == 0 {
        return Err(format!("`{}` holds no file of any benchmark", dir.display()));
    }
    if let Ok(text) = fs::read_to_string(dir.join("aggregates.json")) {
        let all = serde_json::from_str(&text).map_err(|e| format!("`aggregates.json`: {e}"))?;
        aggregates::compare(&all, &mut outcome)?;
    }
    Ok(outcome)
}

fn compare(published: Published, case: &Value, outcome: &mut Outcome) -> Result<(), String> {
    let expected = case["expected"].as_object().ok_or("without expectations")?;
    for (name, expected) in expected {
        if expected["random"] == true {
            continue;
        }
        if published == Published::MmBench {
            group(case, name, expected, outcome)?;
            continue;
        }
        let prediction = case["prediction"].as_str().ok_or("without a prediction")?;
        let ours = ours(published, case, name, prediction)?;
        note(published, name, case, prediction, expected, &ours, outcome);
    }
    Ok(())
}

/// What we say, in the words of the expectation.
fn ours(published: Published, case: &Value, name: &str, prediction: &str) -> Result<Value, String> {
    if name == "trunk_30" {
        return Ok(Value::from(reft_eval::last_words(prediction)));
    }
    let judge = scripted(published, case, name);
    let judge = judge.as_ref().map(|judge| judge as &dyn JudgeModel);
    let grader = grader(name)?;
    let item = item(published, case, grader)?;
    let fails = |error: StageError| error.to_string();
    let mark = match (published, name) {
        (Published::MathVerse, "vlmeval_score" | "vlmeval_judged") => {
            let mut asked = Asked::new(judge);
            let mark = score_extraction(grader, &item, prediction, &mut asked).map_err(fails)?;
            Mark { replies: asked.take(), ..mark }
        }
        _ => published.grade(grader, &item, prediction, &mut Asked::new(judge)).map_err(fails)?,
    };
    Ok(serde_json::json!({
        "score": mark.score,
        "answer": mark.answer,
        "overlap": mark.overlap,
        "reason": mark.reason.as_str(),
        "calls": mark.replies.len(),
        "format": reasoning_format(prediction),
    }))
}

fn scripted(published: Published, case: &Value, name: &str) -> Option<Scripted> {
    // Scripts of MathVerse are for one of its verdicts.
    if published == Published::MathVerse && name != "vlmeval_judged" {
        return None;
    }
    let replies: Vec<String> = match &case["judge"] {
        Value::String(reply) => vec![reply.clone()],
        Value::Array(replies) => {
            replies.iter().filter_map(|reply| reply.as_str().map(str::to_owned)).collect()
        }
        _ => return None,
    };
    Some(Scripted { replies, next: AtomicUsize::new(0) })
}

fn grader(name: &str) -> Result<Grader, String> {
    match name {
        "vlmeval_score" | "vlmeval_judged" | "options" => Ok(Grader::VlmEval),
        name => name.parse().map_err(|error: reft_eval::UnknownGrader| error.to_string()),
    }
}

/// The item as the grader's own project publishes it.
fn item(published: Published, case: &Value, grader: Grader) -> Result<Item, String> {
    let row = &case["item"];
    let is_tsv = matches!(grader, Grader::VlmEval | Grader::Intern);
    let row = match (&row["tsv"], &row["parquet"]) {
        (Value::Object(tsv), _) if is_tsv => with_size(tsv, row),
        (_, Value::Object(parquet)) => with_size(parquet, row),
        _ => row.as_object().cloned().ok_or("the item is no object")?,
    };
    published.item(&row)
}

/// Sizes of pictures, which a Parquet row has in its pixels.
fn with_size(row: &Map<String, Value>, outer: &Value) -> Map<String, Value> {
    let mut row = row.clone();
    for side in ["width", "height"] {
        if let Some(size) = outer.get(side) {
            row.insert(side.to_owned(), size.clone());
        }
    }
    row
}

/// A circular group of MMBench.
fn group(case: &Value, name: &str, expected: &Value, outcome: &mut Outcome) -> Result<(), String> {
    let rows = case["item"].as_array().ok_or("without rows")?;
    let predictions = case["prediction"].as_array().ok_or("without predictions")?;
    let grader = if name.starts_with("lmms") { Grader::LmmsStatic } else { Grader::VlmEval };
    let mut marked = Vec::new();
    for (row, prediction) in rows.iter().zip(predictions) {
        let item = Published::MmBench.item(row.as_object().ok_or("a row is no object")?)?;
        let prediction = prediction.as_str().ok_or("a prediction is no text")?;
        let mark = Published::MmBench
            .grade(grader, &item, prediction, &mut Asked::new(None))
            .map_err(|error| error.to_string())?;
        marked.push((item, mark));
    }
    let all = marked.iter().all(|(_, mark)| mark.is_right());
    let agrees = match name {
        "vlmeval" | "lmms_static" => expected.as_u64() == Some(u64::from(all)),
        "options" => expected.as_array().is_some_and(|options| {
            options.iter().zip(&marked).all(|(option, (_, mark))| option.as_str() == mark.answer.as_deref())
        }),
        "vanilla" => expected.as_array().is_some_and(|hits| {
            hits.iter().zip(&marked).all(|(hit, (_, mark))| hit.as_u64() == Some(u64::from(mark.is_right())))
        }),
        "lmms_options" => expected.as_array().is_some_and(|options| {
            options.iter().zip(&marked).zip(predictions).all(|((option, (item, _)), prediction)| {
                let found = prediction.as_str().and_then(|prediction| lmms_option(item, prediction));
                found.map(String::from).as_deref() == option.as_str()
            })
        }),
        name => return Err(format!("`{name}` is unknown")),
    };
    outcome.count("mmbench", name, agrees);
    if !agrees {
        let marks: Vec<String> =
            marked.iter().map(|(_, mark)| format!("{:?} {}", mark.answer, mark.score)).collect();
        outcome.differences.push(Difference {
            place: format!("mmbench {name} case {}", case["id"]),
            prediction: case["prediction"].to_string(),
            expected: expected.to_string(),
            ours: marks.join(", "),
            wanted: None,
        });
    }
    Ok(())
}

fn note(
    published: Published,
    name: &str,
    case: &Value,
    prediction: &str,
    expected: &Value,
    ours: &Value,
    outcome: &mut Outcome,
) {
    let agrees = agree(expected, ours, name);
    outcome.count(published.name(), name, agrees);
    if agrees {
        return;
    }
    let not_a_number = expected["score"] == "nan";
    outcome.differences.push(Difference {
        place: format!("{published} {name} case {}", case["id"]),
        prediction: prediction.chars().take(300).collect::<String>().escape_debug().to_string(),
        expected: expected.to_string(),
        ours: ours.to_string(),
        wanted: not_a_number.then_some(Wanted::NotANumber),
    });
}

/// Whether all that the expectation says is what we say.
fn agree(expected: &Value, ours: &Value, name: &str) -> bool {
    let score = ours["score"].as_f64().unwrap_or(-1.0);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-5;
    match expected {
        Value::Bool(right) => close(score, f64::from(u8::from(*right))),
        Value::Number(number) => number.as_f64().is_some_and(|number| close(number, score)),
        Value::String(text) => ours.as_str() == Some(text),
        Value::Object(expected) => expected.iter().all(|(key, expected)| match (key.as_str(), expected) {
            // A failure of the original, when it grades or when it compares, is wrong here.
            ("raises", _) | ("correct", Value::Object(_)) => score == 0.0,
            ("correct" | "hit" | "score", Value::Bool(right)) => close(score, f64::from(u8::from(*right))),
            ("correct" | "hit" | "score", Value::Number(number)) => {
                number.as_f64().is_some_and(|number| close(number, score))
            }
            ("iou", overlap) => {
                overlap.as_f64().zip(ours["overlap"].as_f64().or(Some(0.0))).is_some_and(|(a, b)| close(a, b))
            }
            ("option" | "letter" | "normalized" | "found" | "boxed" | "taken", expected)
            | ("parsed", expected @ Value::String(_)) => same_text(expected, &ours["answer"]),
            ("extracted", expected)
                if name != "authors" && name != "authors_quick" && name != "lmms_eval" =>
            {
                same_text(expected, &ours["answer"])
            }
            ("judge_calls", calls) if name != "authors" => {
                // Without a judge the original asks in vain.
                ours["reason"] == "no_judge" || calls.as_u64() == ours["calls"].as_u64()
            }
            ("judge_needed", needed) if name == "vlmeval" => {
                let asked = ours["reason"] == "no_judge" || ours["calls"].as_u64() > Some(0);
                needed.as_bool() == Some(asked)
            }
            ("format", format) => format.as_f64() == ours["format"].as_f64(),
            // What the originals hold in between, or say in another form than a mark does.
            (
                "extracted" | "parsed" | "prefetch" | "parse" | "judge_calls" | "judge_needed" | "box"
                | "boxes" | "prompt_tail" | "random",
                _,
            ) => true,
            _ => false,
        }),
        _ => false,
    }
}

fn same_text(expected: &Value, ours: &Value) -> bool {
    let plain = |value: &Value| match value {
        Value::Null | Value::Bool(false) => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        value => value.to_string(),
    };
    let (expected, ours) = (plain(expected), plain(ours));
    let numbers = expected.parse::<f64>().ok().zip(ours.parse::<f64>().ok());
    expected == ours || numbers.is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * a.abs().max(1.0))
}
