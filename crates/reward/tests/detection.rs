//! What boxes earn: one and many, labels, frames, and attempts to be paid for guessing.

use std::sync::Arc;

use proptest::prelude::*;
use reft_config::{DetectionReward, FrameName, RewardConfig};
use reft_core::{
    BoxFrame, Completion, Form, ImageRef, ImageSize, ImageSource, Message, Part, PixelBudget, Reward as _,
    Role, Sample, StageError, Task,
};
use reft_reward::{Accuracy, Format};

fn sample(solution: &str) -> Sample {
    let image = ImageRef {
        source: ImageSource::Bytes(Arc::from([])),
        size: ImageSize { width: 640, height: 480 },
        label: "test".into(),
    };
    Sample {
        id: "q".into(),
        task: Task::Detection,
        form: Form::Open,
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

fn pays(config: &RewardConfig, solution: &str, answer: &str) -> Result<f32, StageError> {
    Accuracy::new(config, None).score(&sample(solution), &tagged(answer))
}

fn by(detection: DetectionReward) -> RewardConfig {
    RewardConfig { detection, ..RewardConfig::default() }
}

use DetectionReward::{F1, Giou, Map, MapCoco, Matched, Precision, Recall, Soft, Threshold};
const ALL: [DetectionReward; 9] = [Threshold, Soft, Giou, Matched, Precision, Recall, F1, Map, MapCoco];
const MANY: [DetectionReward; 6] = [Matched, Precision, Recall, F1, Map, MapCoco];

const TWO: &str = "[[0, 0, 10, 10], [20, 0, 30, 10]]";

#[test]
fn what_earns_what() {
    let ten =
        (0..10).map(|i| format!("[{0}, 0, {1}, 10]", 20 * i, 20 * i + 10)).collect::<Vec<_>>().join(", ");
    let ten = format!("[{ten}]");
    // Reversed, the two right ones come last.
    let last = (0..10).rev().map(|i| format!("[{0}, 0, {1}, 10]", 20 * i, 20 * i + 10)).collect::<Vec<_>>();
    let last = format!("[{}]", last.join(", "));
    let cases = [
        // One box: the first counts.
        (Giou, "[0, 0, 10, 10]", "[0, 0, 10, 10]", 1.0),
        // Apart: the hull of 30x10 is a third empty.
        (Giou, "[0, 0, 10, 10]", "[20, 0, 30, 10]", 1.0 / 3.0),
        (Giou, "[0, 0, 10, 10]", "no", 0.0),
        // The best matching: overlaps 1 and 0.8 of two.
        (Matched, TWO, "[[20, 0, 30, 8], [0, 0, 10, 10]]", 0.9),
        (Matched, TWO, "[[0, 0, 10, 10]]", 0.5),
        (Matched, TWO, &ten, 0.2),
        // The same box ten times is matched once.
        (Matched, "[0, 0, 10, 10]", "[[0, 0, 10, 10], [0, 0, 10, 10]]", 0.5),
        (Precision, TWO, "[[0, 0, 10, 10]]", 1.0),
        (Precision, TWO, &ten, 0.2),
        (Recall, TWO, "[[0, 0, 10, 10]]", 0.5),
        (Recall, TWO, "[[0, 0, 10, 10], [0, 0, 10, 9]]", 0.5),
        (Recall, TWO, &ten, 1.0),
        (F1, TWO, "[[0, 0, 10, 10]]", 2.0 / 3.0),
        (F1, TWO, &ten, 1.0 / 3.0),
        (F1, TWO, "[[0, 0, 10, 5], [20, 0, 30, 5]]", 0.0),
        (F1, TWO, TWO, 1.0),
        (F1, "[]", "[]", 1.0),
        (F1, "[]", "[0, 0, 1, 1]", 0.0),
        (F1, TWO, "[]", 0.0),
        (F1, TWO, "nothing", 0.0),
        (Map, TWO, "[[0, 0, 10, 10]]", 0.5),
        // Precisions at the hits: 1/9 and 2/10, made monotone 1/5 both.
        (Map, TWO, &last, 0.2),
        (MapCoco, "[0, 0, 10, 10]", "[0, 0, 10, 8]", 0.6),
    ];
    for (detection, solution, answer, expected) in cases {
        let got = pays(&by(detection), solution, answer).unwrap();
        assert!(
            (got - expected).abs() < 1e-6,
            "{detection:?} {answer} for {solution}: {got}, not {expected}"
        );
    }
}

#[test]
fn labels_count_where_they_are_asked_for() {
    let solution =
        r#"[{"bbox_2d": [0, 0, 9, 9], "label": "cat"}, {"bbox_2d": [0, 0, 9, 9], "label": "dog"}]"#;
    let answer = r#"{"dog": [0, 0, 9, 9], "Cat ": [[0, 0, 9, 9]]}"#;
    let swapped = r#"{"bird": [0, 0, 9, 9], "cow": [[0, 0, 9, 9]]}"#;
    for detection in MANY {
        let strict = RewardConfig { box_labels: true, ..by(detection) };
        assert_eq!(pays(&strict, solution, answer).unwrap(), 1.0, "{detection:?}");
        assert_eq!(pays(&strict, solution, swapped).unwrap(), 0.0, "{detection:?}");
        assert_eq!(pays(&by(detection), solution, swapped).unwrap(), 1.0, "{detection:?}");
    }
}

#[test]
fn every_frame_is_converted_by_the_actual_resize() {
    // 640x480 under the Qwen2.5-VL budget becomes 644x476.
    let budget =
        PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 56 * 56, max_pixels: 14 * 14 * 4 * 1280 };
    let sample = sample("[[64, 48, 320, 240], [0, 0, 64, 48]]");
    for (frame, answer) in [
        (BoxFrame::Original, "[[0, 0, 64, 48], [64, 48, 320, 240]]"),
        (BoxFrame::ModelInput, "[[0, 0, 64.4, 47.6], [64.4, 47.6, 322, 238]]"),
        (BoxFrame::Unit, "[[0, 0, 0.1, 0.1], [0.1, 0.1, 0.5, 0.5]]"),
        (BoxFrame::Thousand, "[[0, 0, 100, 100], [100, 100, 500, 500]]"),
    ] {
        for detection in MANY {
            let config = RewardConfig { answer_frame: FrameName(frame), ..by(detection) };
            let paid = Accuracy::new(&config, Some(budget)).score(&sample, &tagged(answer)).unwrap();
            assert!((paid - 1.0).abs() < 1e-5, "{detection:?} {frame:?} {paid}");
        }
    }
    let config = RewardConfig { answer_frame: FrameName(BoxFrame::ModelInput), ..by(F1) };
    let error = Accuracy::new(&config, None).score(&sample, &tagged("[1, 2, 3, 4]")).unwrap_err();
    assert!(error.to_string().contains("pixel budget"), "{error}");
}

#[test]
fn what_is_right_is_decided_by_all_boxes() {
    let right = |detection, answer: &str| {
        let accuracy = Accuracy::decisive(&by(detection), None);
        accuracy.score(&sample(TWO), &tagged(answer)).unwrap() >= 1.0
    };
    assert!(right(Matched, "[[0, 0, 10, 9], [20, 0, 30, 9]]"));
    assert!(!right(Matched, "[[0, 0, 10, 9]]"));
    assert!(right(Soft, "[[0, 0, 10, 9]]"));
}

#[test]
fn the_format_of_nothing() {
    let format = |solution: &str, answer: &str| Format.score(&sample(solution), &tagged(answer)).unwrap();
    assert_eq!(
        (format("[]", "[]"), format(TWO, "[]"), format(TWO, "none"), format(TWO, TWO)),
        (1.0, 0.0, 0.0, 1.0)
    );
}

#[test]
fn swapped_corners_are_a_box_and_break_the_format() {
    let answers = ["[10, 0, 0, 10]", "[0, 10, 10, 0]", r#"{"bbox_2d": [10, 10, 0, 0]}"#, "(10,10),(0,0)"];
    for answer in answers {
        assert_eq!(Format.score(&sample("[0, 0, 10, 10]"), &tagged(answer)).unwrap(), 0.0, "{answer}");
        assert_eq!(pays(&by(Soft), "[0, 0, 10, 10]", answer).unwrap(), 1.0, "{answer}");
    }
    let two = "[[0, 0, 10, 10], [30, 30, 20, 20]]";
    assert_eq!(Format.score(&sample(TWO), &tagged(two)).unwrap(), 0.0);
}

#[test]
fn too_many_boxes_cost_and_take_no_time() {
    let many = format!("[{}]", vec!["[0, 0, 10, 10]"; 7_000].join(", "));
    assert!(pays(&by(F1), TWO, &many).unwrap() < 0.001);
    assert!(pays(&by(Precision), TWO, &many).unwrap() < 0.001);
    assert!(pays(&by(Matched), TWO, &many).unwrap() < 0.001);
    let error = pays(&by(F1), &many, TWO).unwrap_err().to_string();
    assert!(error.contains("sample `q`") && error.contains("at most 100"), "{error}");
}

fn boxes() -> impl Strategy<Value = Vec<[i32; 4]>> {
    prop::collection::vec(prop::array::uniform4(0..40_i32), 1..8)
}

fn written(boxes: &[[i32; 4]]) -> String {
    format!("{boxes:?}")
}

proptest! {
    #[test]
    fn bounded_and_highest_for_the_solution(right in boxes(), given in boxes()) {
        let (right_text, given_text) = (written(&right), written(&given));
        // A box without area overlaps with nothing, itself included.
        let solid = |b: &[i32; 4]| b[0] != b[2] && b[1] != b[3];
        for detection in ALL {
            let paid = pays(&by(detection), &right_text, &given_text).unwrap();
            prop_assert!((0.0..=1.0).contains(&paid), "{detection:?} {paid}");
            if right.iter().all(solid) && !matches!(detection, Threshold | Soft | Giou) {
                let best = pays(&by(detection), &right_text, &right_text).unwrap();
                prop_assert!((best - 1.0).abs() < 1e-6, "{detection:?} {best}");
            }
        }
    }

    #[test]
    fn order_does_not_matter_where_boxes_are_matched(right in boxes(), mut given in boxes()) {
        let paid = |given: &[[i32; 4]]| {
            [Matched, Precision, Recall, F1].map(|d| pays(&by(d), &written(&right), &written(given)).unwrap())
        };
        let before = paid(&given);
        given.reverse();
        prop_assert_eq!(before, paid(&given));
    }

    #[test]
    fn matching_is_symmetric(right in boxes(), given in boxes()) {
        for detection in [Matched, F1] {
            let there = pays(&by(detection), &written(&right), &written(&given)).unwrap();
            let back = pays(&by(detection), &written(&given), &written(&right)).unwrap();
            prop_assert!((there - back).abs() < 1e-6, "{detection:?} {there} {back}");
        }
    }
}
