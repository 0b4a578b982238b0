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
    question::{compared, compared_lists, found, in_words, looked_up, numbers, reading},
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
        // Nothing could be listed or checked at a glance.
        (_, Question::ListAll | Question::Check(_)) | (Style::Careful, _) => think(sample, facts),
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
            steps.push(found(&facts.placed[*target]));
        }
        Question::Cells { targets } => {
            let found: Vec<String> = targets.iter().map(|&target| found(&facts.placed[target])).collect();
            steps.push(found.join(" "));
        }
        Question::Which if is_open => {}
        Question::Which => steps.push(facts.question.answer(&facts.placed)),
        Question::Math(operation) => {
            let numbers = numbers(&facts.placed);
            steps.push(operation.derivation(&numbers));
            if !is_open {
                steps.push(in_words(operation.result(&numbers)));
            }
        }
        Question::ReadAll | Question::ListAll | Question::Check(_) | Question::Shape(_) => {}
    }
    match sample.form {
        Form::Open => {}
        Form::Binary => {
            steps.extend(forms::shown(sample).into_iter().map(|shown| compare(shown, sample.form, facts)));
        }
        Form::Choice => {
            steps.push(go_through(sample, facts));
            steps.push(format!("so {}", sample.solution));
        }
    }
    steps.join("; ")
}

/// Compares the options with what was found, one by one: `A fifteen = ten? no, B ten = ten? yes`. To find the right option
/// among all at once, a small model does not learn.
fn go_through(sample: &Sample, facts: &SceneFacts) -> String {
    let options = ["A", "B", "C", "D", "E"].into_iter().zip(forms::shown(sample));
    let verdicts = options.map(|(letter, shown)| format!("{letter} {}", compare(shown, sample.form, facts)));
    verdicts.collect::<Vec<_>>().join(", ")
}

/// Compares what was shown with what was found, in words of one token: boxes as the cells that their middles are in, and
/// numbers in words.
fn compare(shown: &str, form: Form, facts: &SceneFacts) -> String {
    let placed = &facts.placed;
    match &facts.question {
        Question::Where { target } => {
            let cell = cell_of_box(shown, facts.cell_side).unwrap_or_else(|| shown.to_owned());
            compared([(&*cell, &*placed[*target].cell.to_string())])
        }
        Question::Cells { targets } => {
            let cells: Vec<String> = targets.iter().map(|&target| placed[target].cell.to_string()).collect();
            compared(shown.split(", ").zip(cells.iter().map(String::as_str)))
        }
        Question::Math(operation) => {
            let claim = shown.parse().map_or_else(|_| shown.to_owned(), in_words);
            compared([(&*claim, &*in_words(operation.result(&numbers(placed))))])
        }
        // An option is one label, which is right where it is among others.
        Question::Which if form == Form::Choice => looked_up(shown, placed),
        question => {
            let found = question.answer(placed);
            compared_lists(&shown.split(", ").collect::<Vec<_>>(), &found.split(", ").collect::<Vec<_>>())
        }
    }
}

/// The cell that the middle of a box is in.
fn cell_of_box(shown: &str, cell_side: u32) -> Option<String> {
    let corners: Vec<u32> =
        shown.trim_matches(['[', ']']).split(", ").filter_map(|number| number.parse().ok()).collect();
    let [x1, y1, x2, y2] = corners[..] else { return None };
    let middle = |low: u32, high: u32| low.midpoint(high) / cell_side;
    Some(Cell { row: middle(y1, y2), column: middle(x1, x2) }.to_string())
}
