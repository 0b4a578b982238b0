//! Rejection sampling over stored completions, without a model.
//!
//! A row is one question with all its answers, as `reft generate` writes it:
//! `{"messages": [..], "completions": [{"text": ".."} or ".."], "solution": "..", "task": "..", "form": ".."}`;
//! or one answer, `{"messages": [..], "completion": "..", ..}`, grouped with the other rows of the same question (the
//! same `id`, or without ids the same `messages`).
//! An answer with a `score` of its own (0 to 100, of another judge) is not judged again; without one, `solution` is
//! needed.

use std::{collections::HashMap, sync::Arc};

use reft_core::{
    BoxFrame, Completion, FinishReason, Form, Group, Judge, JudgedGroup, Judgement, Sample, Selector as _,
    Task, Verdict,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{BestOf, RejectError, Report};

/// Which answers of each question are looked at, and which are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Answers to look at per question, the first ones; 0 looks at all.
    pub best_of: usize,
    /// What is kept of them.
    pub select: BestOf,
}

/// Rows for supervised fine-tuning (`messages` that end in the kept answer, and its `score`), and a report.
pub fn reject(
    rows: &[Value],
    settings: Settings,
    judge: &dyn Judge,
) -> Result<(Vec<Value>, Report), RejectError> {
    let mut made = Vec::new();
    let mut judged = Vec::new();
    for question in questions(rows, settings.best_of)? {
        let group = question.judge(judge)?;
        let verdicts = settings.select.select(&group);
        for (index, verdict) in verdicts.iter().enumerate() {
            if *verdict == Verdict::Admit {
                let (completion, judgement) = (&group.group.completions[index], &group.judgements[index]);
                made.push(question.demonstration(&completion.text, judgement));
            }
        }
        judged.push((group, verdicts));
    }
    Ok((made, Report::new(&judged)))
}

/// One question with its answers, and the row it first came in.
struct Question<'a> {
    row: usize,
    fields: &'a Map<String, Value>,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Full(Answer),
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    score: Option<f32>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    finish_reason: Option<FinishReason>,
    #[serde(default)]
    think_opened: bool,
}

impl From<Stored> for Answer {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Text(text) => {
                Self { text, score: None, reason: None, finish_reason: None, think_opened: false }
            }
            Stored::Full(answer) => answer,
        }
    }
}

fn questions(rows: &[Value], best_of: usize) -> Result<Vec<Question<'_>>, RejectError> {
    let mut questions: Vec<Question<'_>> = Vec::new();
    let mut by_key: HashMap<String, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let broken = |message: String| RejectError::Row { row: index + 1, message };
        let fields = row.as_object().ok_or_else(|| broken("not a JSON object".into()))?;
        let messages = fields.get("messages").filter(|messages| messages.is_array());
        let messages =
            messages.ok_or_else(|| broken("`messages` is missing; give the chat of the question".into()))?;
        let key = fields.get("id").unwrap_or(messages).to_string();
        let index = *by_key.entry(key).or_insert_with(|| {
            questions.push(Question { row: index + 1, fields, answers: Vec::new() });
            questions.len() - 1
        });
        questions[index].answers.extend(answers(fields).map_err(broken)?);
    }
    if best_of > 0 {
        for question in &mut questions {
            question.answers.truncate(best_of);
        }
    }
    Ok(questions)
}

fn answers(fields: &Map<String, Value>) -> Result<Vec<Answer>, String> {
    if let Some(stored) = fields.get("completions") {
        let stored = Vec::<Stored>::deserialize(stored)
            .map_err(|_| "`completions` is a list of texts or of objects with `text`".to_owned())?;
        return Ok(stored.into_iter().map(Answer::from).collect());
    }
    let stored = fields.get("completion").ok_or("`completions` or `completion` is missing")?;
    let mut answer = Stored::deserialize(stored)
        .map(Answer::from)
        .map_err(|_| "`completion` is a text or an object with `text`".to_owned())?;
    if let Some(score) = fields.get("score").filter(|score| !score.is_null()) {
        answer.score = Some(score.as_f64().ok_or("`score` is not a number")? as f32);
    }
    Ok(vec![answer])
}

impl Question<'_> {
    fn judge(&self, judge: &dyn Judge) -> Result<JudgedGroup, RejectError> {
        let sample = Arc::new(self.sample()?);
        let completions: Vec<Completion> = self
            .answers
            .iter()
            .map(|answer| Completion {
                finish: answer.finish_reason.unwrap_or(FinishReason::Stop),
                think_opened: answer.think_opened,
                ..Completion::from_text(answer.text.as_str())
            })
            .collect();
        let judgements = self
            .answers
            .iter()
            .zip(&completions)
            .map(|(answer, completion)| match answer.score {
                Some(score) => Ok(Judgement { score, reason: answer.reason.clone().unwrap_or_default() }),
                None if sample.solution.is_empty() => Err(RejectError::Row {
                    row: self.row,
                    message:
                        "neither `score` nor `solution`; give one of them so that the answers can be judged"
                            .into(),
                }),
                None => judge
                    .judge(&sample, completion)
                    .map_err(|source| RejectError::Judge { row: self.row, source }),
            })
            .collect::<Result<_, _>>()?;
        Ok(JudgedGroup {
            group: Group { sample, prompt_tokens: 0, completions, policy_version: None, temperature: None },
            judgements,
        })
    }

    /// As much of a sample as a judge needs.
    fn sample(&self) -> Result<Sample, RejectError> {
        let broken = |message: String| RejectError::Row { row: self.row, message };
        let text = |key: &str| self.fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let task = match self.fields.get("task") {
            None | Some(Value::Null) => Task::Math,
            Some(task) => Task::deserialize(task)
                .map_err(|_| broken(format!("`task` is detection, classify, math or vqa, not {task}")))?,
        };
        let form = match self.fields.get("form") {
            None | Some(Value::Null) => Form::Open,
            Some(form) => Form::deserialize(form)
                .map_err(|_| broken(format!("`form` is binary, choice or open, not {form}")))?,
        };
        let id = match self.fields.get("id") {
            None => format!("row {}", self.row),
            Some(Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
        };
        Ok(Sample {
            id: id.into(),
            task,
            form,
            problem: text("problem"),
            messages: Vec::new(),
            solution: text("solution"),
            box_frame: BoxFrame::Original,
            parent: None,
        })
    }

    /// The question's row with the answer as the last turn, and without the answers that were not kept.
    fn demonstration(&self, text: &str, judgement: &Judgement) -> Value {
        let mut fields = self.fields.clone();
        for key in ["completions", "completion"] {
            fields.remove(key);
        }
        if let Some(Value::Array(messages)) = fields.get_mut("messages") {
            messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": text}]}));
        }
        fields.insert("score".into(), json!(judgement.score));
        fields.insert("reason".into(), json!(judgement.reason));
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use reft_core::StageError;

    use super::*;

    /// 100 for the solution as the whole text.
    struct Exact;

    impl Judge for Exact {
        fn name(&self) -> &'static str {
            "exact"
        }
        fn judge(&self, sample: &Sample, completion: &Completion) -> Result<Judgement, StageError> {
            let score = if completion.text == sample.solution { 100.0 } else { 10.0 };
            Ok(Judgement { score, reason: "exact".into() })
        }
    }

    fn settings(best_of: usize) -> Settings {
        Settings { best_of, select: BestOf { threshold: 85.0, keep: 1 } }
    }

    fn chat(text: &str) -> Value {
        json!([{"role": "user", "content": [{"type": "text", "text": text}]}])
    }

    #[test]
    fn groups_and_rows_give_the_same() {
        let grouped = [
            json!({"messages": chat("1+1"), "solution": "2", "completions": ["3", {"text": "2"}, "2"]}),
            json!({"messages": chat("1+2"), "solution": "3", "completions": ["2"]}),
        ];
        let flat = [
            json!({"messages": chat("1+1"), "solution": "2", "completion": "3"}),
            json!({"messages": chat("1+2"), "solution": "3", "completion": "2"}),
            json!({"messages": chat("1+1"), "completion": "2"}),
            json!({"messages": chat("1+1"), "completion": {"text": "2"}}),
        ];
        let (rows, report) = reject(&grouped, settings(0), &Exact).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["messages"][1]["content"][0]["text"], "2");
        assert_eq!(rows[0]["score"], 100.0);
        assert_eq!((report.total.questions, report.total.answers, report.total.kept), (2, 4, 1));
        assert_eq!(reject(&flat, settings(0), &Exact).unwrap(), (rows, report));
        // Only the first answer is looked at.
        assert_eq!(reject(&grouped, settings(1), &Exact).unwrap().0.len(), 0);
    }

    #[test]
    fn stored_scores_win() {
        let rows = [
            json!({"messages": chat("?"), "completions": [{"text": "a", "score": 90}, {"text": "b", "score": 95}]}),
        ];
        let (made, _) = reject(&rows, settings(0), &Exact).unwrap();
        assert_eq!(made[0]["messages"][1]["content"][0]["text"], "b");
    }

    #[test]
    fn broken_rows_are_named() {
        let good = json!({"messages": chat("?"), "solution": "2", "completions": ["2"]});
        let cases = [
            (json!([]), "row 2: not a JSON object"),
            (json!({"completions": []}), "row 2: `messages`"),
            (json!({"messages": []}), "row 2: `completions`"),
            (json!({"messages": [], "completions": [1]}), "row 2: `completions`"),
            (json!({"messages": [], "completion": "2"}), "row 2: neither `score` nor `solution`"),
            (json!({"messages": [], "solution": "2", "completion": "2", "task": "song"}), "row 2: `task`"),
        ];
        for (row, expected) in cases {
            let error = reject(&[good.clone(), row], settings(0), &Exact).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
