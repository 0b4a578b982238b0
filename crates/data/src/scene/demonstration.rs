//! Worked answers to scene questions, for supervised fine-tuning.
//!
//! Three styles, as texts of the web mix them. *Careful* reads every digit with its cell, works the answer out, then
//! answers: `<think>3e 7k; 3 + 7 = 10</think><answer>10</answer>`.
//! *Reading* reads, but answers without working it out: `<think>3e 7k</think><answer>10</answer>`.
//! *Hasty* answers at once: `<think>at a glance</think><answer>10</answer>`.
//! The prompt does not say which is wanted, so a model that learns the mixture samples all, and reinforcement
//! learning can find out which are right more often.

use reft_config::SceneData;
use reft_core::{Form, Sample};

use super::{
    Cell, Question, SceneFacts,
    question::{beside_cell, numbers, reading},
};
use crate::forms;

/// How a demonstration thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Reads, computes, answers.
    Careful,
    /// Reads, answers.
    Reading,
    /// Answers.
    Hasty,
}

/// How often each style occurs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Styles {
    careful: f64,
    careful_open: f64,
    reading: f64,
}

impl Styles {
    /// The shares that a recipe asks for.
    pub fn from_config(config: &SceneData) -> Self {
        let SceneData { careful, careful_open, reading, .. } = *config;
        Self { careful, careful_open: careful_open.unwrap_or(careful), reading }
    }

    /// The style of a demonstration, from a number drawn evenly from 0 to 1.
    pub fn pick(self, form: Form, drawn: f64) -> Style {
        let careful = if form == Form::Open { self.careful_open } else { self.careful };
        match drawn {
            x if x < careful => Style::Careful,
            x if x < careful + self.reading => Style::Reading,
            _ => Style::Hasty,
        }
    }
}

/// The assistant's turn for a question about a scene, in any form. `sample` is the open question or made from it.
pub fn completion(sample: &Sample, facts: &SceneFacts, style: Style) -> String {
    // A dense scene's answer is the reading itself; thinking it first would only double the tokens.
    let thinking = match (style, &facts.question) {
        (_, Question::ReadAll) => "at a glance".to_owned(),
        // Nothing could be listed at a glance.
        (_, Question::ListAll) | (Style::Careful, _) => think(sample, facts),
        (Style::Reading, question) => read(question, facts),
        (Style::Hasty, _) => "at a glance".to_owned(),
    };
    format!("<think>{thinking}</think><answer>{}</answer>", sample.solution)
}

/// What is to be seen.
fn read(question: &Question, facts: &SceneFacts) -> String {
    match question {
        Question::Shape(shape) => shape.reading(),
        _ => reading(&facts.placed),
    }
}

fn think(sample: &Sample, facts: &SceneFacts) -> String {
    let mut steps = vec![read(&facts.question, facts)];
    let is_open = sample.form == Form::Open;
    match &facts.question {
        Question::Where { target } => {
            steps.push(beside_cell(&facts.placed[*target]));
        }
        Question::Cells { targets } => {
            steps.push(reading(targets.iter().map(|&target| &facts.placed[target])));
            if !is_open {
                steps.push(facts.question.answer(&facts.placed));
            }
        }
        Question::Which if is_open => {}
        Question::Which => steps.push(facts.question.answer(&facts.placed)),
        Question::Math(operation) => steps.push(operation.derivation(&numbers(&facts.placed))),
        Question::ReadAll | Question::ListAll | Question::Shape(_) => {}
    }
    match sample.form {
        Form::Open => {}
        Form::Binary => steps.extend(
            forms::shown(sample)
                .into_iter()
                .map(|shown| format!("{}? {}", name(shown, facts), sample.solution)),
        ),
        Form::Choice => {
            steps.push(go_through(sample, facts));
            steps.push(format!("so {}", sample.solution));
        }
    }
    steps.join("; ")
}

/// Compares the options with what was found, one by one: `A 15? no, B 17? yes`. Each comparison then is between
/// neighbours; to find the right option among all at once, a small model does not learn.
fn go_through(sample: &Sample, facts: &SceneFacts) -> String {
    let right: Vec<&str> = sample.solution.split(", ").collect();
    let options = ["A", "B", "C", "D", "E"].into_iter().zip(forms::shown(sample));
    let verdicts: Vec<String> = options
        .map(|(letter, shown)| {
            let verdict = if right.contains(&letter) { "yes" } else { "no" };
            format!("{letter} {}? {verdict}", name(shown, facts))
        })
        .collect();
    verdicts.join(", ")
}

/// An answer that was shown, as a derivation speaks of it: a box by the cell that its middle is in.
fn name(shown: &str, facts: &SceneFacts) -> String {
    if !matches!(facts.question, Question::Where { .. }) {
        return shown.to_owned();
    }
    let corners: Vec<u32> =
        shown.trim_matches(['[', ']']).split(", ").filter_map(|number| number.parse().ok()).collect();
    match corners[..] {
        [x1, y1, x2, y2] => {
            let middle = |low: u32, high: u32| low.midpoint(high) / facts.cell_side;
            Cell { row: middle(y1, y2), column: middle(x1, x2) }.to_string()
        }
        _ => shown.to_owned(),
    }
}
