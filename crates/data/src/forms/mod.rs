//! From open samples to yes/no questions and multiple choice (the forms of the curriculum).
//!
//! Wrong answers are *borrowed*: samples exchange their right answers in small groups (module `grouping`), so that
//! over a group every answer that is shown is right equally often. A wrong answer therefore looks exactly like a right
//! one, and whoever answers from the text alone cannot beat chance; docs/DATA.md has the argument and its limits,
//! `tests/blind.rs` tries to beat it.
//!
//! A converted sample keeps its images and remembers its open sample as `parent`.

mod answer;
mod binary;
mod choice;
mod grouping;
mod pools;
mod slip;

use std::sync::Arc;

use reft_config::PromptConfig;
use reft_core::{Form, Role, Sample, SampleId, Seed, Task};

use self::answer::Answer;
use crate::{DataError, prompt};

/// How samples are converted.
#[derive(Clone, Copy, Debug)]
pub struct FormSettings {
    /// Options of a choice sample, 2 to 5. Fewer are shown where the data set has fewer different answers to a question.
    pub options: usize,
    /// Equal seeds and samples give equal questions.
    pub seed: Seed,
}

impl Default for FormSettings {
    fn default() -> Self {
        Self { options: 4, seed: Seed::new(0) }
    }
}

/// Samples in one form, and those that cannot be asked in it.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    /// In the order of the open samples.
    pub samples: Vec<Arc<Sample>>,
    /// Which ones are missing, and why.
    pub left_out: Vec<(SampleId, LeftOut)>,
}

/// Why a sample cannot be asked in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// A detection sample whose right answer is that nothing is there.
    NothingThere,
    /// Every sample of its task has the same answer.
    NoWrongAnswer,
}

impl LeftOut {
    /// In words, behind a number of samples.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingThere => "ask for what is not there",
            Self::NoWrongAnswer => "have no wrong answer beside theirs in the data",
        }
    }
}

/// Converts open samples to one form, in the same order. Samples that are already in another form, and short-answer
/// samples, which have no easier form, are passed over; [`Form::Open`] returns all samples as they are.
pub fn convert(
    samples: &[Arc<Sample>],
    form: Form,
    prompts: &PromptConfig,
    settings: &FormSettings,
) -> Result<Converted, DataError> {
    if !(2..=5).contains(&settings.options) {
        return Err(DataError::Setting {
            key: "options",
            message: format!("{} options; give 2 to 5", settings.options),
        });
    }
    if form == Form::Open {
        return Ok(Converted { samples: samples.to_vec(), left_out: Vec::new() });
    }
    let mut left_out = Vec::new();
    let mut converted: Vec<Option<Arc<Sample>>> = vec![None; samples.len()];
    for task in [Task::Detection, Task::Classification, Task::Math] {
        let indices: Vec<usize> = (0..samples.len())
            .filter(|&i| samples[i].task == task && samples[i].form == Form::Open)
            .collect();
        let mut answers = Vec::with_capacity(indices.len());
        let mut of_task: Vec<(usize, &Sample)> = Vec::with_capacity(indices.len());
        for index in indices {
            match Answer::of(&samples[index])? {
                Some(answer) => {
                    answers.push(answer);
                    of_task.push((index, &samples[index]));
                }
                None => left_out.push((samples[index].id.clone(), LeftOut::NothingThere)),
            }
        }
        let (indices, of_task): (Vec<usize>, Vec<&Sample>) = of_task.into_iter().unzip();
        let asked = convert_task(&of_task, &answers, form, prompts, settings);
        for ((index, sample), asked) in indices.into_iter().zip(of_task).zip(asked) {
            match asked {
                Some(asked) => converted[index] = Some(Arc::new(asked)),
                None => left_out.push((sample.id.clone(), LeftOut::NoWrongAnswer)),
            }
        }
    }
    Ok(Converted { samples: converted.into_iter().flatten().collect(), left_out })
}

/// The samples of one task; none for those without a wrong answer.
fn convert_task(
    samples: &[&Sample],
    answers: &[Answer],
    form: Form,
    prompts: &PromptConfig,
    settings: &FormSettings,
) -> Vec<Option<Sample>> {
    let Some(first) = samples.first() else {
        return Vec::new();
    };
    let seed = settings.seed.at(form.as_str()).at(first.task.as_str());
    let mut rng = seed.rng();
    let questions: Vec<Option<(String, String)>> = if form == Form::Binary {
        let asked = |statement: binary::Statement| {
            let solution = if statement.truth { "yes" } else { "no" };
            (format!("Is it {}?", statement.shown), solution.to_owned())
        };
        let statements = binary::statements(samples, answers, &mut rng);
        statements.into_iter().map(|statement| statement.map(asked)).collect()
    } else {
        let sets = choice::options(samples, answers, settings.options, &mut rng);
        sets.into_iter().map(|options| options.map(|options| lettered(&options.shown))).collect()
    };

    samples
        .iter()
        .zip(questions)
        .map(|(sample, question)| {
            let (tail, solution) = question?;
            let problem = format!("{} {tail}", sample.problem.trim());
            let system = sample.messages.iter().find(|message| message.role == Role::System);
            let messages = prompt::messages(prompts, sample.task, form, &problem, sample.images().cloned());
            Some(Sample {
                id: SampleId::from(format!("{}#{form}", sample.id)),
                task: sample.task,
                form,
                messages: prompt::with_system(system.cloned(), messages),
                problem,
                solution,
                box_frame: sample.box_frame,
                parent: Some(sample.id.clone()),
            })
        })
        .collect()
}

/// `A. 10 B. 12 C. 9 D. 14` and the letters of the right options: `A, C`.
pub(crate) fn lettered(options: &[(String, bool)]) -> (String, String) {
    let letters = || ('A'..='E').zip(options);
    let shown: Vec<String> = letters().map(|(letter, (option, _))| format!("{letter}. {option}")).collect();
    let right: Vec<String> =
        letters().filter(|(_, (_, right))| *right).map(|(letter, _)| letter.to_string()).collect();
    (shown.join(" "), right.join(", "))
}

/// What a converted sample was shown, in order: the one answer of a yes/no question, or the options of a choice.
pub(crate) fn shown(sample: &Sample) -> Vec<&str> {
    if sample.form == Form::Binary {
        let shown = sample.problem.rsplit_once(" Is it ").map(|(_, shown)| shown.trim_end_matches('?'));
        return shown.into_iter().collect();
    }
    let mut rest = sample.problem.split_once(" A. ").map(|(_, options)| options);
    let mut options = Vec::new();
    for next in [" B. ", " C. ", " D. ", " E. "] {
        let Some(text) = rest else { break };
        match text.split_once(next) {
            Some((option, after)) => {
                options.push(option);
                rest = Some(after);
            }
            None => break,
        }
    }
    options.extend(rest);
    options
}
