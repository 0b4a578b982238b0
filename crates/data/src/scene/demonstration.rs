//! Worked answers to scene questions, for supervised fine-tuning.
//!
//! Two styles, as texts of the web mix them. *Careful* reads every digit with its cell, computes, then answers:
//! `<think>3 in a2, 7 in c4; 3 + 7 = 10</think><answer>10</answer>`.
//! *Hasty* answers at once: `<think>at a glance</think><answer>10</answer>`.
//! The prompt does not say which is wanted, so a model that learns the mixture samples both, and reinforcement
//! learning can find out that careful answers are right more often.

use reft_core::{Form, Sample};

use super::{Question, SceneFacts, question::numbers};

/// How a demonstration thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Reads, computes, answers.
    Careful,
    /// Answers.
    Hasty,
}

/// The assistant's turn for a question about a scene, in any form. `sample` is the open question or made from it.
pub fn completion(sample: &Sample, facts: &SceneFacts, style: Style) -> String {
    // A dense scene's answer is the reading itself; thinking it first would only double the tokens.
    let thinking = match (style, &facts.question) {
        (Style::Hasty, _) | (_, Question::ReadAll) => "at a glance".to_owned(),
        (Style::Careful, _) => think(sample, facts),
    };
    format!("<think>{thinking}</think><answer>{}</answer>", sample.solution)
}

fn think(sample: &Sample, facts: &SceneFacts) -> String {
    let reading: Vec<String> = facts.placed.iter().map(|p| format!("{} in {}", p.label, p.cell)).collect();
    let mut steps = vec![reading.join(", ")];
    let is_open = sample.form == Form::Open;
    match &facts.question {
        Question::Where { target } => {
            let target = &facts.placed[*target];
            steps.push(format!("{} in {}", target.label, target.cell));
            // The right box in full, so that comparing it with those on offer is comparing text.
            if !is_open {
                let [x1, y1, x2, y2] = target.corners();
                steps.push(format!("[{x1}, {y1}, {x2}, {y2}]"));
            }
        }
        Question::Which if is_open => {}
        Question::Which => steps.push(facts.question.answer(&facts.placed)),
        Question::Math(operation) => steps.push(operation.derivation(&numbers(&facts.placed))),
        Question::ReadAll => {}
    }
    if !is_open {
        steps.push(format!("so {}", sample.solution));
    }
    steps.join("; ")
}
