//! Groups of different prompts and lengths, with an image that two of them show, and models to train on them.

use std::{path::PathBuf, sync::Arc};

use reft_config::GrpoPhase;
use reft_core::{
    BoxFrame, Completion, FinishReason, Form, Group, ImageRef, ImageSize, ImageSource, Message, Part,
    RewardParts, Role, Sample, ScoredGroup, Task, Verdict,
};
use reft_vlm::{Vlm, VlmOptions};
use serde_json::{Value, json};
use tch::Kind;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

pub(crate) fn open(name: &str) -> Vlm {
    open_as(name, Kind::Float)
}

pub(crate) fn open_as(name: &str, kind: Kind) -> Vlm {
    let model = Vlm::open(&golden(name), VlmOptions { kind, ..VlmOptions::default() }).unwrap();
    model.set_trainable(|_| true);
    model
}

fn messages(parts: &[&str]) -> Vec<Message> {
    let content = parts.iter().map(|&part| match part {
        "photo.png" => Part::Image(ImageRef {
            source: ImageSource::Path(golden("images").join(part)),
            size: ImageSize { width: 85, height: 62 },
            label: Arc::from(part),
        }),
        text => Part::Text(text.into()),
    });
    vec![Message { role: Role::User, content: content.collect() }]
}

/// Groups of different prompts and lengths; two of them show the same image, one has none.
pub(crate) fn questions() -> Vec<(Vec<Message>, Vec<Vec<i64>>)> {
    let answer = |i: i64, n: i64| (0..n).map(|t| 256 + (7 * i + 3 * t) % 40).collect::<Vec<i64>>();
    vec![
        (messages(&["photo.png", "Is it a cat?"]), vec![answer(0, 5), answer(1, 1), answer(2, 8)]),
        (messages(&["What is 2 + 3?"]), vec![answer(3, 4), answer(4, 6)]),
        (messages(&["Look: ", "photo.png", "How many?"]), vec![answer(5, 7), answer(6, 2)]),
    ]
}

pub(crate) fn groups() -> Vec<ScoredGroup> {
    let group = |(i, (messages, answers)): (usize, (Vec<Message>, Vec<Vec<i64>>))| {
        let n = answers.len();
        let completions = answers.into_iter().map(|token_ids| Completion {
            text: String::new(),
            logprobs: token_ids.iter().enumerate().map(|(t, _)| -1.0 - 0.1 * t as f32).collect(),
            token_ids,
            finish: FinishReason::Length,
            think_opened: false,
            support: None,
        });
        let sample = Sample {
            id: format!("q{i}").into(),
            task: Task::Math,
            form: Form::Open,
            problem: String::new(),
            messages,
            solution: String::new(),
            box_frame: BoxFrame::Original,
            parent: None,
        };
        ScoredGroup {
            group: Group {
                sample: Arc::new(sample),
                prompt_tokens: 0,
                completions: completions.collect(),
                policy_version: None,
                temperature: None,
            },
            rewards: (0..n).map(|m| RewardParts { total: m as f32, ..RewardParts::default() }).collect(),
            advantages: (0..n).map(|m| 1.0 - m as f32 + 0.3 * i as f32).collect(),
            verdict: Verdict::Admit,
        }
    };
    questions().into_iter().enumerate().map(group).collect()
}

pub(crate) fn phase(keys: &Value) -> GrpoPhase {
    let mut phase = json!({"name": "p", "data": "d", "steps": 10});
    for (key, value) in keys.as_object().unwrap() {
        phase[key] = value.clone();
    }
    serde_json::from_value(phase).unwrap()
}
