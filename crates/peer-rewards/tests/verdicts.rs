//! Peers' rewards against executed verdicts of the originals: `fixtures/cases/README.md`.
#![expect(clippy::unwrap_used, reason = "a broken table should stop the test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use reft_core::ImageSize;
use reft_peer_rewards::{PeerReward, PeerRow};

#[derive(serde::Deserialize)]
struct Case {
    reward: String,
    completion: String,
    solution: String,
    /// None where the original raises.
    expected: Option<f64>,
    #[serde(default)]
    kwargs: Kwargs,
}

#[derive(Default, serde::Deserialize)]
struct Kwargs {
    image_size: Option<[u32; 2]>,
    image_grid_thw: Option<[u32; 3]>,
}

fn score(case: &Case) -> Option<f64> {
    let row = PeerRow {
        completion: &case.completion,
        solution: &case.solution,
        image: case.kwargs.image_size.map(|[width, height]| ImageSize { width, height }),
        model_input: case
            .kwargs
            .image_grid_thw
            .map(|[_, rows, columns]| ImageSize { width: columns * 14, height: rows * 14 }),
    };
    PeerReward::named(&case.reward).unwrap().score(&row).ok()
}

/// The cases that differ, by reward.
fn differences(table: &str) -> BTreeMap<String, Vec<String>> {
    let mut differ: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in table.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let got = score(&case);
        let same = match (got, case.expected) {
            (Some(got), Some(expected)) => (got - expected).abs() < 1e-12,
            (got, expected) => got == expected,
        };
        if !same {
            let line =
                format!("{got:?}, not {:?}: {:?} | {:?}", case.expected, case.completion, case.solution);
            differ.entry(case.reward).or_default().push(line);
        }
    }
    differ
}

#[test]
fn verdicts_of_the_originals() {
    let differ = differences(include_str!("../../../fixtures/cases/peer_rewards.jsonl"));
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Where ours is known to differ, with the original's score: docs/REWARDS.md says why.
#[test]
fn known_differences_stay() {
    let tagged = |answer: &str| format!("<think>t</think><answer> {answer} </answer>");
    for (reward, completion, solution, original, ours) in [
        ("r1v.accuracy_reward", tagged("$\\sqrt12$"), "2", 1.0, 0.0),
        ("r1v.accuracy_reward", tagged("$12$"), "$12 square feet$", 1.0, 0.0),
        ("r1v.accuracy_reward", tagged("$5.0000001$"), "$5.0$", 1.0, 0.0),
        ("r1v.accuracy_reward", tagged("\\boxed{CAT}"), "$c a t$", 0.0, 1.0),
        ("vlm_r1.accuracy_reward.default", tagged("The answer is \u{968}"), "\u{968}", 0.125, 1.0),
        (
            "vlm_r1.repetition_reward",
            "[{\"bbox_2d\": [1,2],2], \"label\": \"a\"}, {\"bbox_2d\": [1,2], \"label\": \"a\"}]".to_owned(),
            "",
            -0.5,
            0.0,
        ),
    ] {
        let case = Case {
            reward: reward.into(),
            solution: solution.into(),
            expected: Some(original),
            kwargs: Kwargs::default(),
            completion,
        };
        assert_eq!(score(&case), Some(ours), "{reward}: {:?}, originally {original}", case.completion);
    }
}

proptest! {
    #[test]
    fn any_text_is_scored(completion in ".{0,80}", answer in "[-0-9a-z+*/^_(){}\\[\\]|,.=<>! \\\\%$'\"]{0,60}") {
        for completion in [completion.clone(), format!("<think>t</think><answer>{answer}</answer>"), answer.clone()] {
            for reward in PeerReward::all() {
                let row = PeerRow { completion: &completion, solution: &format!("<answer>{answer}</answer>"), image: None, model_input: None };
                if let Ok(score) = reward.score(&row) {
                    prop_assert!((-1.0..=1.0).contains(&score), "{}: {score}", reward.as_str());
                }
            }
        }
    }
}
