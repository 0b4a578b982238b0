//! The answers of one step of a run, group by group: what `reft inspect RUN --step N` shows.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use reft_store::RunReader;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Error,
    examples::{Pictures, file_of},
};

/// The answers of a step. `Display` is a text for a terminal.
#[derive(Clone, Debug, Serialize)]
pub struct StepAnswers {
    /// The phase.
    pub phase: String,
    /// The step of the phase.
    pub step: u64,
    /// Its groups, in the order in which they were drawn.
    pub groups: Vec<GroupAnswers>,
}

/// A question with all its answers.
#[derive(Clone, Debug, Serialize)]
pub struct GroupAnswers {
    /// The question's id.
    pub sample: String,
    /// The open sample that the question was made of, whose picture it has.
    pub picture: String,
    /// The picture's file, where it was asked for and there is one; what is in no file is written to the run's `examples/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The task.
    pub task: String,
    /// The form.
    pub form: String,
    /// The prompt, `<image>` where an image stands.
    pub prompt: String,
    /// The right answer.
    pub solution: String,
    /// Whether the group was trained on, and if not, why.
    pub verdict: String,
    /// The answers.
    pub answers: Vec<StepAnswer>,
}

/// An answer with what it earned.
#[derive(Clone, Debug, Serialize)]
pub struct StepAnswer {
    /// What the model wrote.
    pub completion: String,
    /// Tokens.
    pub tokens: u64,
    /// Whether the length limit has cut it.
    pub is_cut: bool,
    /// The whole reward or score; none where it failed.
    pub reward: Option<f64>,
    /// Its parts by name.
    pub parts: Vec<(String, f64)>,
    /// What it is worth beside the others of its group; none where answers are not compared.
    pub advantage: Option<f64>,
}

/// Reads the answers of a step; of the phase that was recorded last when none is named.
pub fn answers_of_step(run: &Path, phase: Option<&str>, step: u64) -> Result<StepAnswers, Error> {
    let reader = RunReader::open(run)?;
    let refuse = |message: String| Error::File { path: run.to_owned(), message };
    let mut recorded = Vec::new();
    for name in &reader.info().phases {
        let files = reader.completions(name)?;
        if !files.is_empty() {
            recorded.push((name.clone(), files));
        }
    }
    let found = match phase {
        Some(phase) => recorded.iter().find(|(name, _)| name == phase),
        None => recorded.last(),
    };
    let Some((phase, files)) = found else {
        let names: Vec<&str> = recorded.iter().map(|(name, _)| name.as_str()).collect();
        return Err(refuse(match phase {
            Some(phase) => {
                format!("phase `{phase}` has recorded no answers; those that have: {}", names.join(", "))
            }
            None => "no step has recorded answers yet".to_owned(),
        }));
    };
    let name = format!("step_{step:06}.parquet");
    let file = files.iter().find(|file| file.file_name().is_some_and(|found| found == name.as_str()));
    let file = file.ok_or_else(|| {
        refuse(format!(
            "phase `{phase}` has recorded {} steps, and step {step} is not among them",
            files.len()
        ))
    })?;
    let mut groups = groups(&reader.rows(file));
    let mut pictures = Pictures::of_run(run)?;
    if let Some(data) = pictures.data_of(phase) {
        for group in &mut groups {
            let image = pictures.find(&data, &group.picture).map(|(image, _)| image);
            // A run that cannot be written to is looked at all the same.
            group.file = image.and_then(|image| file_of(&image, run, &group.picture).ok());
        }
    }
    Ok(StepAnswers { phase: phase.clone(), step, groups })
}

/// The answers of a step from its file; none where it is damaged.
pub(crate) fn answers_in(reader: &RunReader, phase: &str, file: &Path) -> StepAnswers {
    let digits = file.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("step_"));
    let step = digits.and_then(|digits| digits.parse().ok()).unwrap_or_default();
    StepAnswers { phase: phase.to_owned(), step, groups: groups(&reader.rows(file)) }
}

/// Rows of one question follow each other.
fn groups(rows: &[Map<String, Value>]) -> Vec<GroupAnswers> {
    let mut groups: Vec<GroupAnswers> = Vec::new();
    for row in rows {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_first = row.get("index").and_then(Value::as_u64) == Some(0);
        if is_first || groups.last().is_none_or(|group| group.sample != text("sample")) {
            let verdict = [text("verdict"), text("reason")];
            let (sample, parent) = (text("sample"), text("parent"));
            groups.push(GroupAnswers {
                picture: if parent.is_empty() { sample.clone() } else { parent },
                file: None,
                sample,
                task: text("task"),
                form: text("form"),
                prompt: text("prompt"),
                solution: text("solution"),
                verdict: verdict
                    .iter()
                    .filter(|part| !part.is_empty())
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(": "),
                answers: Vec::new(),
            });
        }
        if let Some(group) = groups.last_mut() {
            group.answers.push(answer(row));
        }
    }
    groups
}

fn answer(row: &Map<String, Value>) -> StepAnswer {
    let number = |name: &str| row.get(name).and_then(Value::as_f64);
    let parts = row
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("reward_")?.to_owned(), value.as_f64()?)));
    StepAnswer {
        completion: row.get("completion").and_then(Value::as_str).unwrap_or_default().to_owned(),
        tokens: row.get("tokens").and_then(Value::as_u64).unwrap_or_default(),
        is_cut: row.get("finish").and_then(Value::as_str) == Some("length"),
        reward: number("reward").or_else(|| number("score")),
        parts: parts.collect(),
        advantage: number("advantage"),
    }
}

impl StepAnswers {
    /// `open step 20: 16 questions`.
    pub fn head(&self) -> String {
        format!("{} step {}: {} questions", self.phase, self.step, self.groups.len())
    }
}

impl fmt::Display for StepAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head())?;
        for group in &self.groups {
            write!(f, "\n{group}")?;
            if let Some(file) = &group.file {
                writeln!(f, "  picture: {}", file.display())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for GroupAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}, {})  {}", self.sample, self.task, self.form, self.verdict)?;
        writeln!(f, "  {}", self.prompt.replace("<image>", "").trim().replace('\n', "\n  "))?;
        writeln!(f, "  right: {}", self.solution)?;
        for answer in &self.answers {
            let reward = answer.reward.map_or_else(|| "failed".to_owned(), |reward| format!("{reward:.2}"));
            let parts: Vec<String> =
                answer.parts.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
            let advantage = answer.advantage.map_or_else(String::new, |value| format!("  adv {value:+.2}"));
            let cut = if answer.is_cut { "  cut" } else { "" };
            writeln!(
                f,
                "  {reward:>6}  {}{advantage}  {} tokens{cut}\n          {}",
                parts.join(" "),
                answer.tokens,
                answer.completion.trim().replace('\n', "\n          ")
            )?;
        }
        Ok(())
    }
}
