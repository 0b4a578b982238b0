//! The paper's rewards: what earns what, and every published fault as a case that must not be paid.
#![expect(clippy::unwrap_used, reason = "a broken case should stop the test")]

use std::sync::Arc;

use proptest::prelude::*;
use reft_config::{DetectionReward, FrameName, PartialCredit, RewardConfig};
use reft_core::{
    BoxFrame, Completion, FinishReason, Form, ImageRef, ImageSize, ImageSource, Message, Part, PixelBudget,
    Reward, Role, Sample, Task,
};
use reft_reward::{Accuracy, Format, RewardName, Rubric};

fn sample(form: Form, task: Task, solution: &str) -> Sample {
    let image = ImageRef {
        source: ImageSource::Bytes(Arc::from([])),
        size: ImageSize { width: 640, height: 480 },
        label: "test".into(),
    };
    Sample {
        id: "q".into(),
        task,
        form,
        problem: "?".into(),
        messages: vec![Message { role: Role::User, content: vec![Part::Image(image)] }],
        solution: solution.into(),
        box_frame: BoxFrame::Original,
        parent: None,
    }
}

fn tagged(answer: &str) -> Completion {
    Completion::from_text(format!("<think>t</think>\n<answer>{answer}</answer>"))
}

fn accuracy(form: Form, task: Task, solution: &str, answer: &str) -> f32 {
    let reward = Accuracy::new(&RewardConfig::default(), None);
    reward.score(&sample(form, task, solution), &tagged(answer)).unwrap()
}

#[test]
fn what_earns_what() {
    use Form::{Binary, Choice, Open};
    use Task::{Classification, Detection, Math, Vqa};
    let cases = [
        (Binary, Detection, "yes", "Yes.", 1.0),
        (Binary, Math, "no", "no", 1.0),
        (Binary, Classification, "no", "yes", 0.0),
        // Fault 3: `not correct` is no yes.
        (Binary, Math, "yes", "not correct", 0.0),
        (Binary, Math, "yes", "correct", 0.0),
        // Fault 2: order, option text, articles, answers without a letter.
        (Choice, Detection, "B", "B. a cat", 1.0),
        (Choice, Classification, "A, B", "B, A", 1.0),
        (Choice, Math, "A", "a cat", 0.0),
        (Choice, Math, "C", "12", 0.0),
        (Choice, Math, "C", "A, B, C, D", 0.0),
        (Choice, Classification, "A, C", "A", 0.2),
        (Choice, Classification, "A, C", "A, B", 0.0),
        (Choice, Classification, "A, C", "B", 0.0),
        (Choice, Classification, "A, C", "A, A", 0.2),
        (Choice, Classification, "A, C", "A, B, C", 0.0),
        (Choice, Math, "B", "B, B", 1.0),
        // Fault 4: lists and multi-word classes.
        (Open, Classification, "cat, traffic light", "[\"traffic light\", \"cat\"]", 1.0),
        (Open, Classification, "cat, traffic light", "Traffic Light\nCat", 1.0),
        (Open, Classification, "traffic light", "light traffic", 0.0),
        (Open, Classification, "cat, dog", "cat", 0.5),
        (Open, Classification, "cat, dog", "cat, bird, dog", 2.0 / 3.0),
        (Open, Classification, "cat", "", 0.0),
        // Fault 1: mathematics is compared as mathematics.
        (Open, Math, "12", "13", 0.0),
        (Open, Math, "12", "112", 0.0),
        (Open, Math, "12", "12 or 13", 0.0),
        (Open, Math, "12", "24/2", 1.0),
        (Open, Math, "\\frac{1}{2}", "0.5", 1.0),
        (Open, Detection, "[0, 0, 10, 10]", "{\"bbox_2d\": [0, 0, 10, 6]}", 1.0),
        (Open, Detection, "[0, 0, 10, 10]", "{\"bbox_2d\": [0, 0, 10, 5]}", 0.0),
        (Open, Detection, "[0, 0, 10, 10]", "yes", 0.0),
        (Open, Detection, "[0, 0, 10, 10]", "[[50, 50, 60, 60], [0, 0, 10, 10]]", 0.0),
        (Open, Vqa, "Red", "red.", 1.0),
        (Open, Vqa, "red", "red circle", 0.0),
    ];
    for (form, task, solution, answer, expected) in cases {
        assert_eq!(
            accuracy(form, task, solution, answer),
            expected,
            "{form} {task}: {answer} for {solution}"
        );
    }
}

#[test]
fn solutions_may_carry_tags() {
    assert_eq!(accuracy(Form::Open, Task::Math, "<answer> 12 </answer>", "12"), 1.0);
}

/// Fault 5: only open detection wants a box.
#[test]
fn format_by_form() {
    let cases = [
        (Form::Binary, Task::Detection, "yes", 1.0),
        (Form::Choice, Task::Detection, "B", 1.0),
        (Form::Open, Task::Detection, "yes", 0.0),
        (Form::Open, Task::Detection, "```json\n{\"bbox_2d\": [1, 2, 3, 4]}\n```", 1.0),
        (Form::Open, Task::Math, "5", 1.0),
        (Form::Open, Task::Math, "", 0.0),
    ];
    for (form, task, answer, expected) in cases {
        let sample = sample(form, task, "yes");
        assert_eq!(Format.score(&sample, &tagged(answer)).unwrap(), expected, "{form} {task}: {answer}");
    }
}

/// Fault 6: boxes are compared in one frame, converted by the actual resize.
#[test]
fn boxes_are_converted() {
    // 640x480 under the Qwen2.5-VL budget becomes 644x476.
    let budget =
        PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 56 * 56, max_pixels: 14 * 14 * 4 * 1280 };
    let sample = sample(Form::Open, Task::Detection, "[64, 48, 320, 240]");
    let iou = |frame, budget, answer: &str| {
        let config = RewardConfig {
            detection: DetectionReward::Soft,
            answer_frame: FrameName(frame),
            ..RewardConfig::default()
        };
        Accuracy::new(&config, budget).score(&sample, &tagged(answer))
    };
    let cases = [
        (BoxFrame::Original, "[64, 48, 320, 240]"),
        (BoxFrame::ModelInput, "[64.4, 47.6, 322, 238]"),
        (BoxFrame::Unit, "[0.1, 0.1, 0.5, 0.5]"),
        (BoxFrame::Thousand, "[100, 100, 500, 500]"),
    ];
    for (frame, answer) in cases {
        let got = iou(frame, Some(budget), answer).unwrap();
        assert!((got - 1.0).abs() < 1e-5, "{frame:?} {got}");
    }
    assert!(iou(BoxFrame::Thousand, None, "[64, 48, 320, 240]").unwrap() < 0.5);
    let error = iou(BoxFrame::ModelInput, None, "[1, 2, 3, 4]").unwrap_err().to_string();
    assert!(error.contains("`q`") && error.contains("pixel budget"), "{error}");
}

#[test]
fn overlap_credit() {
    let config = RewardConfig { partial: PartialCredit::Overlap, ..RewardConfig::default() };
    let reward = Accuracy::new(&config, None);
    let sample = sample(Form::Choice, Task::Classification, "A, C");
    assert_eq!(reward.score(&sample, &tagged("A, B")).unwrap(), 0.2);
    assert_eq!(reward.score(&sample, &tagged("B")).unwrap(), 0.0);
}

#[test]
fn rubric_keeps_every_part() {
    let config = RewardConfig { accuracy: 2.0, format: 0.5, ..RewardConfig::default() };
    let rubric = Rubric::paper(&config, None);
    let parts = rubric.score_parts(&sample(Form::Open, Task::Math, "12"), &tagged("12")).unwrap();
    assert_eq!((parts.total, parts.part("accuracy"), parts.part("format")), (2.5, Some(1.0), Some(1.0)));
}

#[test]
fn broken_solutions_name_the_sample() {
    let cases = [
        (Form::Binary, Task::Math, "maybe"),
        (Form::Choice, Task::Math, "none of them"),
        (Form::Open, Task::Detection, "somewhere"),
        (Form::Open, Task::Classification, " , "),
        (Form::Open, Task::Math, " "),
        (Form::Open, Task::Vqa, ""),
    ];
    for (form, task, solution) in cases {
        let reward = Accuracy::new(&RewardConfig::default(), None);
        let error = reward.score(&sample(form, task, solution), &tagged("1")).expect_err(solution);
        assert!(error.to_string().contains("sample `q`"), "{error}");
    }
}

#[test]
fn adversarial_outputs_earn_nothing() {
    let attacks = [
        "",
        "<answer>",
        "</answer>",
        "<think><answer>12</answer></think>",
        "<think>12",
        "12",
        "The answer is 12.",
        "<think>t</think><answer>1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12</answer>",
        "<think>t</think><answer>x</answer>",
        "<think>t</think><answer>12</answer><answer>13</answer>",
        "<think>t</think><answer>12 13</answer>",
        "<think>t</think><answer>10 < x < 14</answer>",
        "<think>t</think><answer>\\pm 12</answer>",
        "<think>t</think><answer><answer></answer></answer>",
        "<think>t</think><answer>0/0</answer>",
        "<think>t</think><answer>\\infty</answer>",
    ];
    let sample = sample(Form::Open, Task::Math, "12");
    let reward = Accuracy::new(&RewardConfig::default(), None);
    for attack in attacks {
        assert_eq!(reward.score(&sample, &Completion::from_text(attack)).unwrap(), 0.0, "{attack}");
    }
    let noise = Completion::from_text("<answer>".repeat(20_000) + &"\\frac{".repeat(20_000));
    assert_eq!(reward.score(&sample, &noise).unwrap(), 0.0);
}

#[test]
fn cut_answers_keep_their_accuracy_but_not_their_format() {
    let cut =
        Completion { finish: FinishReason::Length, ..Completion::from_text("<think>t</think><answer>12") };
    let parts = Rubric::paper(&RewardConfig::default(), None)
        .score_parts(&sample(Form::Open, Task::Math, "12"), &cut)
        .unwrap();
    assert_eq!((parts.part("accuracy"), parts.part("format")), (Some(1.0), Some(0.0)));
}

fn any_form() -> impl Strategy<Value = (Form, Task, &'static str, &'static str)> {
    prop::sample::select(vec![
        (Form::Binary, Task::Math, "yes", "no"),
        (Form::Choice, Task::Detection, "B", "C"),
        (Form::Choice, Task::Classification, "A, C", "B"),
        (Form::Open, Task::Detection, "[1, 2, 3, 4]", "[5, 6, 7, 8]"),
        (Form::Open, Task::Classification, "cat, dog", "cat, bird"),
        (Form::Open, Task::Math, "12", "13"),
        (Form::Open, Task::Vqa, "red", "blue"),
    ])
}

proptest! {
    #[test]
    fn bounded_and_never_paid_without_an_answer((form, task, solution, _) in any_form(), text in ".{0,80}") {
        let sample = sample(form, task, solution);
        for name in RewardName::OWN {
            let reward = name.build(&RewardConfig::default(), None);
            let most = if name == RewardName::Paper { 2.0 } else { 1.0 };
            // Rewards of another form may refuse the solution; that is the sample's error, not a score.
            if let Ok(score) = reward.score(&sample, &tagged(&text)) {
                prop_assert!((0.0..=most).contains(&score), "{} {}", name, score);
            }
            let bare = text.replace('<', "");
            if let Ok(score) = reward.score(&sample, &Completion::from_text(bare)) {
                prop_assert_eq!(score, 0.0, "{}", name);
            }
        }
    }

    #[test]
    fn right_earns_more_than_wrong((form, task, solution, wrong) in any_form(), pad in "[ \n]{0,3}") {
        let sample = sample(form, task, solution);
        let rubric = Rubric::paper(&RewardConfig::default(), None);
        let right = rubric.score(&sample, &tagged(&format!("{pad}{solution}{pad}"))).unwrap();
        let wrong = rubric.score(&sample, &tagged(&format!("{pad}{wrong}{pad}"))).unwrap();
        prop_assert_eq!(right, 2.0);
        prop_assert!(right > wrong);
    }
}
