//! What holds for any text that a model may write: the entry of the soak test, of `examples/soak.rs` and of the fuzz
//! targets in `fuzz/`.
//!
//! Each check panics where something does not hold. A file of its own, because three crates include it.

use reft_config::{DetectionReward, RewardConfig};
use reft_core::{BoxFrame, Completion, FinishReason, Form, Reward as _, Sample, Task};
use reft_peer_rewards::{PeerReward, PeerRow};
use reft_reward::{Reply, RewardName, Rubric, parse_boxes};

/// Questions of every form and task with their solutions.
pub(crate) const QUESTIONS: [(Form, Task, &str); 9] = [
    (Form::Binary, Task::Detection, "yes"),
    (Form::Choice, Task::Math, "B"),
    (Form::Choice, Task::Classification, "A, C"),
    (Form::Open, Task::Detection, "[10, 20, 110, 220]"),
    (
        Form::Open,
        Task::Detection,
        r#"[{"bbox_2d": [0, 0, 9, 9], "label": "cat"}, {"bbox_2d": [20, 0, 30, 9]}]"#,
    ),
    (Form::Open, Task::Classification, "cat, traffic light"),
    (Form::Open, Task::Math, "12"),
    (Form::Open, Task::Math, r"\frac{\sqrt{3}}{2}"),
    (Form::Open, Task::Vqa, "red"),
];

pub(crate) fn sample(form: Form, task: Task, solution: &str) -> Sample {
    Sample {
        id: "q".into(),
        task,
        form,
        // Tags in the prompt never count.
        problem: "<think>t</think><answer>12</answer>".into(),
        messages: Vec::new(),
        solution: solution.into(),
        box_frame: BoxFrame::Original,
        parent: None,
    }
}

/// Scores a text as an answer to every question, by every reward of ours.
pub(crate) fn completion(text: &str) {
    for finish in [FinishReason::Stop, FinishReason::Length] {
        let completion = Completion { finish, ..Completion::from_text(text) };
        let reply = Reply::of(&completion);
        for part in reply.answer.into_iter().chain(reply.thinking) {
            assert!(text.contains(part) && part == part.trim(), "a part that is not in the text");
        }
        assert!(!reply.answer.is_some_and(str::is_empty), "an empty answer");
        assert!(!reply.well_formed || reply.answer.is_some(), "well formed without an answer");
        for (form, task, solution) in QUESTIONS {
            question(&sample(form, task, solution), &completion, &reply);
        }
    }
}

fn question(sample: &Sample, completion: &Completion, reply: &Reply<'_>) {
    let rubric = Rubric::paper(&RewardConfig::default(), None);
    let Ok(parts) = rubric.score_parts(sample, completion) else { panic!("no text may cause an error") };
    let (accuracy, format) = (parts.part("accuracy").unwrap_or(-1.0), parts.part("format").unwrap_or(-1.0));
    assert!((0.0..=1.0).contains(&accuracy), "accuracy {accuracy}");
    assert!(format == 0.0 || format == 1.0, "format {format}");
    assert!(reply.answer.is_some() || parts.total == 0.0, "paid without an answer");
    assert!(reply.well_formed || format == 0.0, "format without its form");
    if sample.task == Task::Detection && sample.form == Form::Open {
        let found = reply.answer.and_then(parse_boxes).map_or(0, |found| found.len());
        for detection in
            [DetectionReward::Giou, DetectionReward::F1, DetectionReward::Matched, DetectionReward::MapCoco]
        {
            let config = RewardConfig { detection, box_labels: true, ..RewardConfig::default() };
            let reward = RewardName::Accuracy.build(&config, None);
            let Ok(paid) = reward.score(sample, completion) else { panic!("no text may cause an error") };
            assert!((0.0..=1.0).contains(&paid), "{detection:?} {paid}");
            assert!(found > 0 || paid == 0.0, "{detection:?}: paid without a box");
            // Ten boxes for two: at most two of them are right.
            let most = 4.0 / (2 + found) as f32 + 1e-6;
            assert!(
                detection != DetectionReward::F1 || found < 2 || paid <= most,
                "{found} boxes earn {paid}"
            );
        }
    }
}

/// Scores a text by every reward of other projects.
pub(crate) fn peers(text: &str) {
    for reward in PeerReward::all() {
        let row =
            PeerRow { completion: text, solution: "<answer>12</answer>", image: None, model_input: None };
        if let Ok(score) = reward.score(&row) {
            assert!((-1.0..=1.0).contains(&score), "{}: {score}", reward.as_str());
        }
    }
}

/// Compares two texts as mathematics, every way round.
pub(crate) fn mathematics(gold: &str, answer: &str) {
    reft_math::equal(gold, answer);
    reft_math::equal(answer, gold);
    reft_math::equal(answer, answer);
    let changed = format!("{answer}+1");
    reft_math::equal(answer, &changed);
    for number in ["12", "13"] {
        assert!(!answer.trim().is_empty() || !reft_math::equal(number, answer), "paid for nothing");
    }
    assert!(!(reft_math::equal("12", answer) && reft_math::equal("13", answer)), "both 12 and 13");
}
