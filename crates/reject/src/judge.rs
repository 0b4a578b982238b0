//! A judge of rules: what a person would check first, without asking another model.
//!
//! | part | points | given for |
//! |---|---|---|
//! | accuracy | 50 | the accuracy reward, 0 to 1, times 50 |
//! | format | 20 | the format reward, 0 to 1, times 20 |
//! | consistency | 20 | thinking and answer agree: 20 where the thinking ends on the answer, 10 where it says nothing about it, 0 where it ends on another |
//! | fluency | 10 | no repetition, no broken characters, not cut off |
//!
//! An answer that is not fully right (accuracy below 1) gets at most 80 points, so the customary threshold of 85 keeps
//! right answers only; and a right answer reaches it only in the asked format and without contradicting itself.
//! The published method asks GPT-4o for the same four aspects; its prompt and weights are unpublished, these are ours.

use reft_core::{Completion, FinishReason, Judge, Judgement, Reward, Sample, StageError};

use crate::{consistency, fluency};

const ACCURACY: f32 = 50.0;
const FORMAT: f32 = 20.0;
const CONSISTENCY: f32 = 20.0;
const FLUENCY: f32 = 10.0;
/// Most points of an answer that is not fully right.
const MOST_WHEN_WRONG: f32 = 80.0;

/// Judges by rules; the module's table says what gets how many points.
pub struct RuleJudge {
    accuracy: Box<dyn Reward>,
    format: Box<dyn Reward>,
}

impl RuleJudge {
    /// A judge from an accuracy and a format reward, each 0 to 1.
    ///
    /// Accuracy must be able to reach 1: for boxes take the reward with a threshold (`Accuracy::decisive`), not the
    /// intersection over union.
    pub fn new(accuracy: Box<dyn Reward>, format: Box<dyn Reward>) -> Self {
        Self { accuracy, format }
    }
}

impl Judge for RuleJudge {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn judge(&self, sample: &Sample, completion: &Completion) -> Result<Judgement, StageError> {
        let share =
            |reward: &dyn Reward| Ok::<_, StageError>(reward.score(sample, completion)?.clamp(0.0, 1.0));
        let right = share(self.accuracy.as_ref())?;
        let accuracy = ACCURACY * right;
        let format = FORMAT * share(self.format.as_ref())?;
        let (thinking, answer) = parts(&completion.text);
        let consistency = CONSISTENCY * consistency::share(sample.form, thinking, answer);
        let cut = completion.finish == FinishReason::Length;
        let fluency = if cut { 0.0 } else { FLUENCY * fluency::share(&completion.text) };

        let sum = accuracy + format + consistency + fluency;
        let score = if right < 1.0 { sum.min(MOST_WHEN_WRONG) } else { sum };
        let reason = format!(
            "accuracy {accuracy:.0}/50, format {format:.0}/20, consistency {consistency:.0}/20, fluency {fluency:.0}/10"
        );
        Ok(Judgement { score, reason })
    }
}

/// Thinking and answer; the whole text counts as thinking where there are no tags.
/// A text with other tags than these fails the format and cannot be kept, so no more care is needed.
fn parts(text: &str) -> (&str, &str) {
    let (before, answer) = text.rsplit_once("<answer>").unwrap_or((text, ""));
    let answer = answer.split_once("</answer>").map_or(answer, |(answer, _)| answer);
    let thinking = before.split_once("</think>").map_or(before, |(thinking, _)| thinking);
    let thinking = thinking.split_once("<think>").map_or(thinking, |(_, thinking)| thinking);
    (thinking.trim(), answer.trim())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use reft_core::{BoxFrame, Form, Task};

    use super::*;

    /// Pays a fixed amount, or 1 for the right answer between the tags.
    struct Pays(Option<f32>);

    impl Reward for Pays {
        fn name(&self) -> &'static str {
            "pays"
        }
        fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
            Ok(self.0.unwrap_or_else(|| f32::from(parts(&completion.text).1 == sample.solution)))
        }
    }

    fn sample(form: Form, solution: &str) -> Arc<Sample> {
        Arc::new(Sample {
            id: "q".into(),
            task: Task::Math,
            form,
            problem: String::new(),
            messages: Vec::new(),
            solution: solution.into(),
            box_frame: BoxFrame::Original,
            parent: None,
        })
    }

    fn points(form: Form, solution: &str, text: &str) -> f32 {
        let judge = RuleJudge::new(Box::new(Pays(None)), Box::new(Pays(Some(1.0))));
        judge.judge(&sample(form, solution), &Completion::from_text(text)).unwrap().score
    }

    #[test]
    fn points_by_hand() {
        let cases = [
            (Form::Open, "12", "<think>7 + 5 = 12</think><answer>12</answer>", 100.0),
            (Form::Open, "12", "<think>7 + 5 = 13</think><answer>12</answer>", 80.0),
            (Form::Open, "12", "<think>add them</think><answer>12</answer>", 90.0),
            (Form::Open, "12", "<think>7 + 5 = 13</think><answer>13</answer>", 50.0),
            (Form::Binary, "yes", "<think>It is there, so no</think><answer>yes</answer>", 80.0),
            (Form::Binary, "yes", "<think>It is there, so yes</think><answer>yes</answer>", 100.0),
            (Form::Choice, "B", "<think>It is a cat, option B.</think><answer>B</answer>", 100.0),
            (Form::Choice, "B", "<think>It is a cat, option C.</think><answer>B</answer>", 80.0),
        ];
        for (form, solution, text, expected) in cases {
            assert_eq!(points(form, solution, text), expected, "{text}");
        }
        let judge = RuleJudge::new(Box::new(Pays(None)), Box::new(Pays(Some(0.0))));
        let unformatted = Completion::from_text("so 12<answer>12</answer>");
        assert_eq!(judge.judge(&sample(Form::Open, "12"), &unformatted).unwrap().score, 80.0);
        let cut = Completion { finish: FinishReason::Length, ..unformatted };
        assert_eq!(judge.judge(&sample(Form::Open, "12"), &cut).unwrap().score, 70.0);
    }

    proptest! {
        #[test]
        fn wrong_answers_never_reach_the_threshold(right in 0.0_f32..1.0, format in 0.0_f32..=1.0, text in ".{0,80}") {
            let judge = RuleJudge::new(Box::new(Pays(Some(right))), Box::new(Pays(Some(format))));
            for form in Form::ALL {
                let completion = Completion::from_text(format!("<think>{text}</think><answer>{text}</answer>"));
                let judgement = judge.judge(&sample(form, "1"), &completion).unwrap();
                prop_assert!((0.0..85.0).contains(&judgement.score));
            }
        }
    }
}
