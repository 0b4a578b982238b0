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
use reft_core::{Form, Sample, SampleId, Seed, Task};

use self::answer::Answer;
use crate::{DataError, prompt};

/// How samples are converted.
#[derive(Clone, Copy, Debug)]
pub struct FormSettings {
    /// Options of a choice sample, 2 to 5. Fewer are shown where the data set has fewer different answers to a question.
    pub options: usize,
    /// The same seed and samples give the same questions.
    pub seed: Seed,
}

impl Default for FormSettings {
    fn default() -> Self {
        Self { options: 4, seed: Seed::new(0) }
    }
}

/// Converts open samples to one form, in the same order. Samples that are already in another form, and short-answer
/// samples, which have no easier form, are left out; [`Form::Open`] returns all samples as they are.
pub fn convert(
    samples: &[Arc<Sample>],
    form: Form,
    prompts: &PromptConfig,
    settings: &FormSettings,
) -> Result<Vec<Arc<Sample>>, DataError> {
    if !(2..=5).contains(&settings.options) {
        return Err(DataError::Setting {
            key: "options",
            message: format!("{} options; give 2 to 5", settings.options),
        });
    }
    if form == Form::Open {
        return Ok(samples.to_vec());
    }
    let mut converted: Vec<Option<Arc<Sample>>> = vec![None; samples.len()];
    for task in [Task::Detection, Task::Classification, Task::Math] {
        let places: Vec<usize> = (0..samples.len())
            .filter(|&i| samples[i].task == task && samples[i].form == Form::Open)
            .collect();
        let of_task: Vec<&Sample> = places.iter().map(|&i| &*samples[i]).collect();
        for (place, sample) in places.into_iter().zip(convert_task(&of_task, form, prompts, settings)?) {
            converted[place] = Some(Arc::new(sample));
        }
    }
    Ok(converted.into_iter().flatten().collect())
}

fn convert_task(
    samples: &[&Sample],
    form: Form,
    prompts: &PromptConfig,
    settings: &FormSettings,
) -> Result<Vec<Sample>, DataError> {
    let Some(first) = samples.first() else {
        return Ok(Vec::new());
    };
    let answers: Vec<Answer> = samples.iter().map(|sample| Answer::of(sample)).collect::<Result<_, _>>()?;
    let seed = settings.seed.at(form.as_str()).at(first.task.as_str());
    let mut rng = seed.rng();
    let questions: Vec<(String, String)> = if form == Form::Binary {
        binary::statements(samples, &answers, &mut rng)?
            .into_iter()
            .map(|statement| {
                let solution = if statement.truth { "yes" } else { "no" };
                (format!("Is it {}?", statement.shown), solution.to_owned())
            })
            .collect()
    } else {
        choice::options(samples, &answers, settings.options, &mut rng)?
            .into_iter()
            .map(|options| lettered(&options.shown))
            .collect()
    };

    Ok(samples
        .iter()
        .zip(questions)
        .map(|(sample, (tail, solution))| {
            let problem = format!("{} {tail}", sample.problem.trim());
            Sample {
                id: SampleId::from(format!("{}#{form}", sample.id)),
                task: sample.task,
                form,
                messages: prompt::messages(prompts, sample.task, form, &problem, sample.images().cloned()),
                problem,
                solution,
                box_frame: sample.box_frame,
                parent: Some(sample.id.clone()),
            }
        })
        .collect())
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

fn no_wrong_answer(sample: &Sample) -> DataError {
    DataError::Sample {
        sample: sample.id.to_string(),
        message: format!(
            "no wrong answer can be found beside `{}`: every sample of its task has the same; give more data or leave \
             the binary and choice forms out",
            sample.solution
        ),
    }
}
