//! Scores stored completions: `reft score`.

use std::{path::Path, sync::Arc};

use reft_config::RewardConfig;
use reft_core::{
    Completion, FinishReason, Form, ImageRef, ImageSize, ImageSource, Message, Part, Role, Sample, SampleId,
    Task,
};
use reft_peer_rewards::{PeerReward, PeerRow};
use reft_reward::RewardName;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Error,
    relative::rebase,
    table::{self, Row},
};

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreSummary {
    /// Rows read.
    pub rows: usize,
    /// Rows with a score.
    pub scored: usize,
    /// Rows whose score could not be computed.
    pub failed: usize,
    /// Mean of the scores; none without a score.
    pub mean: Option<f64>,
    /// The first few errors.
    pub errors: Vec<String>,
}

/// Adds `score` to every row of `input`, or to every answer of its `completions`, as `generate` writes them; where none can be
/// computed it is null and `error` says why.
pub fn score(input: &Path, output: &Path, reward: RewardName) -> Result<ScoreSummary, Error> {
    table::check_output(output)?;
    let mut scores = Vec::new();
    let mut errors = Vec::new();
    let mut rows = Vec::new();
    for (location, mut row) in table::read(input)? {
        let mut note = |marked: &mut Row, result: Result<f64, String>| match result {
            Ok(score) => {
                scores.push(score);
                marked.insert("score".to_owned(), score.into());
                marked.remove("error");
            }
            Err(error) => {
                marked.insert("score".to_owned(), Value::Null);
                marked.insert("error".to_owned(), error.clone().into());
                errors.push(format!("{location}: {error}"));
            }
        };
        match row.shift_remove("completions") {
            Some(Value::Array(answers)) if !row.contains_key("completion") => {
                let scored = answers.into_iter().map(|answer| {
                    let mut answer = answer_object(answer);
                    let result = score_row(&with_answer(&row, &answer), &location.to_string(), reward);
                    note(&mut answer, result);
                    Value::Object(answer)
                });
                let scored: Value = scored.collect();
                row.insert("completions".to_owned(), scored);
            }
            other => {
                row.extend(other.map(|other| ("completions".to_owned(), other)));
                let result = score_row(&row, &location.to_string(), reward);
                note(&mut row, result);
            }
        }
        rebase(&mut row, input, output);
        rows.push(row);
    }
    table::write(output, &rows)?;
    Ok(ScoreSummary {
        rows: rows.len(),
        scored: scores.len(),
        failed: errors.len(),
        mean: (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64),
        errors: errors.into_iter().take(5).collect(),
    })
}

/// An answer of `completions`: an object with `text`, or the text alone.
fn answer_object(answer: Value) -> Row {
    match answer {
        Value::Object(answer) => answer,
        text => Row::from_iter([("text".to_owned(), text)]),
    }
}

/// A row as if it had this answer only.
fn with_answer(row: &Row, answer: &Row) -> Row {
    let mut row = row.clone();
    row.insert("completion".to_owned(), answer.get("text").cloned().unwrap_or_default());
    for name in ["finish_reason", "think_opened"] {
        row.extend(answer.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    row
}

/// A row, as far as scoring needs it.
#[derive(Deserialize)]
struct ScoreRow {
    completion: Option<Value>,
    solution: Option<Value>,
    task: Option<Value>,
    form: Option<Value>,
    #[serde(default)]
    finish_reason: Option<FinishReason>,
    /// Whether the chat template had opened the think block.
    #[serde(default)]
    think_opened: bool,
    kwargs: Option<Kwargs>,
}

/// What a reward may need beyond completion and solution. Other keys belong to other programs' rewards.
#[derive(Default, Deserialize)]
struct Kwargs {
    /// `[width, height]` of the original image, to convert boxes by.
    image_size: Option<[u32; 2]>,
    /// Images, rows and columns of patches that the model sees, 14 pixels each: for VLM-R1's overlap.
    image_grid_thw: Option<[u32; 3]>,
    /// The frame of the solution's box.
    box_frame: Option<reft_core::BoxFrame>,
    /// Settings of the reward, as under `[phase.reward]` of a recipe.
    #[serde(default)]
    reward: Option<RewardConfig>,
}

/// Side of a patch, in pixels (Qwen2.5-VL).
const PATCH: u32 = 14;
/// The tags that a completion may have. Without any of them, `math_equal` takes the whole completion for the answer.
const TAGS: [&str; 4] = ["<think>", "</think>", "<answer>", "</answer>"];

fn score_row(row: &Row, id: &str, reward: RewardName) -> Result<f64, String> {
    let row = ScoreRow::deserialize(Value::Object(row.clone())).map_err(|error| error.to_string())?;
    let kwargs = row.kwargs.unwrap_or_default();
    let completion = text("completion", row.completion.as_ref())?;
    let solution = text("solution", row.solution.as_ref())?;
    if let RewardName::Peer(reward) = reward {
        return score_peer(reward, &completion, &solution, &kwargs);
    }
    let (task, form) = meaning(reward, known(row.task)?, known(row.form)?)?;
    let image = kwargs.image_size.map(|[width, height]| {
        Part::Image(ImageRef {
            // Scoring reads the size alone.
            source: ImageSource::Bytes(Arc::from([].as_slice())),
            size: ImageSize { width, height },
            label: "kwargs".into(),
        })
    });
    let sample = Sample {
        id: SampleId::from(id),
        task,
        form,
        problem: String::new(),
        messages: vec![Message { role: Role::User, content: image.into_iter().collect() }],
        solution,
        box_frame: kwargs.box_frame.unwrap_or_default(),
        parent: None,
    };
    let bare = reward == RewardName::MathEqual && !TAGS.iter().any(|tag| completion.contains(tag));
    let completion = if bare { format!("<answer>{completion}</answer>") } else { completion };
    let completion = Completion {
        finish: row.finish_reason.unwrap_or(FinishReason::Stop),
        think_opened: row.think_opened,
        ..Completion::from_text(completion)
    };
    let reward = reward.build(&kwargs.reward.unwrap_or_default(), None);
    let score = reward.score(&sample, &completion).map_err(|error| error.to_string())?;
    // Through text, so that 0.2 stays 0.2 and does not become 0.20000000298023224.
    Ok(score.to_string().parse().unwrap_or(f64::from(score)))
}

fn score_peer(reward: PeerReward, completion: &str, solution: &str, kwargs: &Kwargs) -> Result<f64, String> {
    let row = PeerRow {
        completion,
        solution,
        image: kwargs.image_size.map(|[width, height]| ImageSize { width, height }),
        model_input: kwargs.image_grid_thw.map(|[_, rows, columns]| ImageSize {
            width: columns.saturating_mul(PATCH),
            height: rows.saturating_mul(PATCH),
        }),
    };
    reward.score(&row).map_err(|raises| raises.to_string())
}

/// Solutions are often stored as bare numbers.
fn text(name: &str, value: Option<&Value>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Number(_) | Value::Array(_) | Value::Object(_))) if name == "solution" => {
            Ok(value.to_string())
        }
        Some(Value::Null) | None => Err(format!("the row has no `{name}`")),
        Some(other) => Err(format!("`{name}` is not text: {other}")),
    }
}

/// A task or form of ours; other projects' rows may have their own.
fn known<T: DeserializeOwned>(value: Option<Value>) -> Result<Option<T>, String> {
    value.map_or(Ok(None), |value| serde_json::from_value(value).map_err(|error| error.to_string()))
}

/// The task and form of a row: its own, else what the reward is for.
fn meaning(reward: RewardName, task: Option<Task>, form: Option<Form>) -> Result<(Task, Form), String> {
    let (implied_task, implied_form) = match reward {
        RewardName::Paper | RewardName::Accuracy | RewardName::Format | RewardName::Peer(_) => (None, None),
        RewardName::YesNo => (Some(Task::Math), Some(Form::Binary)),
        RewardName::Letters => (Some(Task::Classification), Some(Form::Choice)),
        RewardName::ClassIou => (Some(Task::Classification), None),
        RewardName::BoxIou
        | RewardName::BoxThreshold
        | RewardName::BoxGiou
        | RewardName::BoxesMatched
        | RewardName::BoxesPrecision
        | RewardName::BoxesRecall
        | RewardName::BoxesF1
        | RewardName::BoxesMap
        | RewardName::BoxesMapCoco => (Some(Task::Detection), None),
        RewardName::MathEqual => (Some(Task::Math), None),
        RewardName::TextEqual => (Some(Task::Vqa), None),
    };
    let task = task.or(implied_task).ok_or_else(|| {
        let known: Vec<&str> = Task::ALL.iter().map(|task| task.as_str()).collect();
        format!("reward `{reward}` depends on the task, and the row has no `task` ({})", known.join(", "))
    })?;
    Ok((task, form.or(implied_form).unwrap_or(Form::Open)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(row: Value, reward: &str) -> Result<f64, String> {
        score_row(row.as_object().unwrap(), "line 1", reward.parse().unwrap())
    }

    #[test]
    fn rows_by_hand() {
        let answer = |text: &str| format!("<think>t</think><answer>{text}</answer>");
        let cases = [
            (json!({"completion": answer("1/2"), "solution": "0.5"}), "math_equal", 1.0),
            (json!({"completion": answer("13"), "solution": 12}), "math_equal", 0.0),
            (
                json!({"completion": answer("12"), "solution": "12", "kwargs": {"other": 1}}),
                "math_equal",
                1.0,
            ),
            // A bare answer, as data sets of mathematics store them.
            (json!({"completion": "\\frac{1}{2}", "solution": "0.5"}), "math_equal", 1.0),
            (json!({"completion": "<think>12</think>", "solution": "12"}), "math_equal", 0.0),
            (json!({"completion": answer("yes"), "solution": "yes"}), "yes_no", 1.0),
            // Peers' rewards see the solution's tags, and need no task.
            (
                json!({"completion": answer("5"), "solution": "<answer>5</answer>", "task": "their own"}),
                "r1v.accuracy_reward#no_symbolic",
                1.0,
            ),
            (
                json!({"completion": answer("[10,20,110,220]"), "solution": "<answer>[10,20,110,220]</answer>",
                       "kwargs": {"image_size": [560, 420], "image_grid_thw": [1, 60, 80], "task": "x"}}),
                "vlm_r1.qwen.iou_reward",
                0.193_317_422_434_367_53,
            ),
            (json!({"completion": answer("cat, dog"), "solution": "dog"}), "class_iou", 0.5),
            (json!({"completion": answer("[0,0,2,2]"), "solution": [1, 0, 3, 2]}), "box_iou", 1.0 / 3.0),
            (json!({"completion": answer("12"), "solution": "12", "task": "math"}), "paper", 2.0),
            (json!({"completion": "12", "solution": "12", "task": "math"}), "paper", 0.0),
            (
                json!({"completion": answer("no"), "solution": "yes", "task": "math", "form": "binary"}),
                "paper",
                1.0,
            ),
            // Fractions of a 200x100 image against pixels of it.
            (
                json!({"completion": answer("[0,0,100,50]"), "solution": "[0,0,0.5,0.5]",
                       "kwargs": {"image_size": [200, 100], "box_frame": "unit"}}),
                "box_iou",
                1.0,
            ),
            (
                json!({"completion": answer("[0,0,2,2]"), "solution": "[1,0,3,2]",
                       "kwargs": {"reward": {"iou_threshold": 0.3}}}),
                "box_threshold",
                1.0,
            ),
        ];
        for (row, reward, expected) in cases {
            let got = one(row.clone(), reward).unwrap();
            assert!((got - expected).abs() < 1e-7, "{reward} {row}: {got}");
        }
    }

    #[test]
    fn what_cannot_be_scored_says_why() {
        for (row, reward, expected) in [
            (json!({"solution": "1"}), "math_equal", "no `completion`"),
            (json!({"completion": "1"}), "math_equal", "no `solution`"),
            (json!({"completion": 3, "solution": "1"}), "math_equal", "`completion` is not text"),
            (json!({"completion": "1", "solution": "1"}), "paper", "no `task` (detection"),
            (
                json!({"completion": "1", "solution": "1"}),
                "vlm_r1.internvl.iou_reward",
                "raises here: the solution has no answer block",
            ),
            (
                json!({"completion": "1", "solution": "x", "task": "detection"}),
                "accuracy",
                "is a box such as",
            ),
            (
                json!({"completion": "1", "solution": "x", "task": "poetry"}),
                "accuracy",
                "unknown variant `poetry`",
            ),
        ] {
            let error = one(row.clone(), reward).unwrap_err();
            assert!(error.contains(expected), "{reward} {row}: {error}");
        }
    }

    #[test]
    fn files_get_their_scores() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in.jsonl"), dir.path().join("out.jsonl"));
        std::fs::write(
            &input,
            "{\"id\": 7, \"completion\": \"<answer>4</answer>\", \"solution\": \"4\"}\n{\"completion\": \"x\"}\n",
        )
        .unwrap();
        let summary = score(&input, &output, RewardName::MathEqual).unwrap();
        assert_eq!((summary.rows, summary.scored, summary.failed, summary.mean), (2, 1, 1, Some(1.0)));
        assert_eq!(summary.errors, ["line 2: the row has no `solution`"]);
        let text = std::fs::read_to_string(&output).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            rows[0],
            json!({"id": 7, "completion": "<answer>4</answer>", "solution": "4", "score": 1.0})
        );
        assert_eq!(rows[1]["score"], Value::Null);
        assert_eq!(rows[1]["error"], "the row has no `solution`");
    }
}
