//! Composition: what a recipe pays beyond accuracy and format, by hand.
#![expect(clippy::unwrap_used, reason = "a broken case should stop the test")]

use proptest::prelude::*;
use reft_config::{CosineConfig, LengthConfig, RepetitionConfig, RewardConfig};
use reft_core::{BoxFrame, Completion, Form, Reward, RewardParts, Sample, Task};
use reft_reward::Rubric;

fn parts(config: &RewardConfig, text: &str, tokens: usize) -> RewardParts {
    let sample = Sample {
        id: "q".into(),
        task: Task::Math,
        form: Form::Open,
        problem: "?".into(),
        messages: Vec::new(),
        solution: "<answer>5</answer>".into(),
        box_frame: BoxFrame::Original,
        parent: None,
    };
    let completion = Completion { token_ids: vec![0; tokens], ..Completion::from_text(text) };
    Rubric::from_recipe(config, None).unwrap().score_parts(&sample, &completion).unwrap()
}

const RIGHT: &str = "<think>t</think><answer>5</answer>";
const BARE: &str = "<answer>5</answer>";
const WRONG: &str = "<think>t</think><answer>6</answer>";

fn close(got: f32, expected: f32) {
    assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
}

#[test]
fn the_default_is_the_papers() {
    for (text, total) in [(RIGHT, 2.0), (BARE, 1.0), (WRONG, 1.0), ("5", 0.0)] {
        assert_eq!(parts(&RewardConfig::default(), text, 9).total, total, "{text}");
    }
}

#[test]
fn format_comes_first() {
    let config = RewardConfig { format_first: true, ..RewardConfig::default() };
    for (text, total) in [(RIGHT, 2.0), (BARE, 0.0), (WRONG, 1.0)] {
        assert_eq!(parts(&config, text, 9).total, total, "{text}");
    }
}

#[test]
fn overlong_answers_cost() {
    let length = LengthConfig::Overlong { max_tokens: 100, buffer_tokens: 20, weight: 0.5 };
    let config = RewardConfig { length: Some(length), ..RewardConfig::default() };
    // Free up to 80; 90 is half way; 100 and more cost 1. The weight halves it.
    for (tokens, part) in [(0, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (300, -1.0)] {
        let parts = parts(&config, RIGHT, tokens);
        close(parts.part("overlong").unwrap(), part);
        close(parts.total, 2.0 + 0.5 * part);
    }
}

#[test]
fn short_right_answers_and_long_wrong_ones_are_best() {
    let cosine = CosineConfig {
        max_tokens: 100,
        right_short: 1.0,
        right_long: 0.5,
        wrong_short: -0.5,
        wrong_long: 0.0,
    };
    let config = RewardConfig { length: Some(LengthConfig::Cosine(cosine)), ..RewardConfig::default() };
    // cos(pi / 2) = 0, so half way is the middle; cos(pi / 4) = 0.707107 leaves 0.853553 of the way back.
    for (text, tokens, part) in [
        (RIGHT, 0, 1.0),
        (RIGHT, 50, 0.75),
        (RIGHT, 25, 0.926_777),
        (RIGHT, 100, 0.5),
        (RIGHT, 900, 0.5),
        (WRONG, 0, -0.5),
        (WRONG, 50, -0.25),
        (WRONG, 100, 0.0),
    ] {
        close(parts(&config, text, tokens).part("accuracy").unwrap(), part);
    }
}

#[test]
fn repeated_phrases_cost() {
    let repetition = Some(RepetitionConfig { words: 2, weight: 1.0 });
    let config = RewardConfig { repetition, ..RewardConfig::default() };
    // `a b`, `b a`, `a b`: one of three was there before.
    close(parts(&config, "a b A B", 4).part("repetition").unwrap(), -1.0 / 3.0);
    close(parts(&config, "a b c d", 4).part("repetition").unwrap(), 0.0);
    close(parts(&config, "a", 1).part("repetition").unwrap(), 0.0);
}

#[test]
fn peers_join_by_name() {
    let peers = [("r1v.accuracy_reward#no_symbolic".to_owned(), 2.0), ("r1v.format_reward".to_owned(), 1.0)];
    let config = RewardConfig {
        accuracy: 0.0,
        format: 0.0,
        peers: peers.into_iter().collect(),
        ..RewardConfig::default()
    };
    let scored = parts(&config, RIGHT, 1);
    assert_eq!(scored.total, 3.0);
    assert_eq!(scored.parts.len(), 2);

    let peers = [("r1v.accuracy".to_owned(), 1.0)].into_iter().collect();
    let unknown = Rubric::from_recipe(&RewardConfig { peers, ..RewardConfig::default() }, None);
    let error = unknown.err().unwrap().to_string();
    assert!(error.contains("`r1v.accuracy`") && error.contains("r1v.accuracy_reward"), "{error}");
}

#[test]
fn peers_never_stop_a_run_for_what_the_model_writes() {
    // The original raises: the matched box has no label. The solution is fine, so training goes on.
    let peers = [("vlm_r1.accuracy_reward.weighted_sum".to_owned(), 1.0)].into_iter().collect();
    let config = RewardConfig { accuracy: 0.0, format: 0.0, peers, ..RewardConfig::default() };
    let sample = Sample {
        id: "q".into(),
        task: Task::Detection,
        form: Form::Open,
        problem: "?".into(),
        messages: Vec::new(),
        solution: "<answer>```json\n[{\"bbox_2d\": [0, 0, 9, 9], \"label\": \"a\"}]\n```</answer>".into(),
        box_frame: BoxFrame::Original,
        parent: None,
    };
    let unlabelled = "<answer>```json\n[{\"bbox_2d\": [0, 0, 9, 9]}]\n```</answer>";
    let rubric = Rubric::from_recipe(&config, None).unwrap();
    assert_eq!(rubric.score(&sample, &Completion::from_text(unlabelled)).unwrap(), 0.0);
}

proptest! {
    #[test]
    fn shapes_are_bounded_and_longer_never_pays(
        text in "(<think>)?[a-d ]{0,80}(</think>)?(<answer>[0-9 ]{0,3}</answer>)?",
        tokens in 0_usize..400,
        more in 0_usize..400,
        max_tokens in 2_usize..300,
        words in 1_usize..5,
    ) {
        let overlong =
            LengthConfig::Overlong { max_tokens, buffer_tokens: max_tokens / 2, weight: 1.0 };
        let cosine = CosineConfig {
            max_tokens,
            right_short: 1.0,
            right_long: 0.5,
            wrong_short: -0.5,
            wrong_long: 0.0,
        };
        let repetition = Some(RepetitionConfig { words, weight: 1.0 });
        let shaped = RewardConfig { length: Some(overlong), repetition, ..RewardConfig::default() };
        let [now, later] = [tokens, tokens + more].map(|tokens| parts(&shaped, &text, tokens));
        for (name, parts) in [("overlong", &now), ("repetition", &now), ("overlong", &later)] {
            prop_assert!((-1.0..=0.0).contains(&parts.part(name).unwrap()), "{name}: {text}");
        }
        prop_assert!(later.total <= now.total + 1e-6, "{text}");

        let shaped = RewardConfig { length: Some(LengthConfig::Cosine(cosine)), ..RewardConfig::default() };
        let accuracy = parts(&shaped, &text, tokens).part("accuracy").unwrap();
        prop_assert!((-0.5..=1.0).contains(&accuracy), "{accuracy}: {text}");
        let is_right = parts(&RewardConfig::default(), &text, tokens).part("accuracy").unwrap() > 0.5;
        prop_assert_eq!(is_right, accuracy >= 0.5 - 1e-6, "{}: {}", accuracy, text);
    }
}
