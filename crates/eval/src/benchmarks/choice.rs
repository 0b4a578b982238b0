//! What multiple-choice benchmarks share: prompts, and VLMEvalKit's inference with its judge.

use reft_core::StageError;

use crate::{
    Asked, Harness, Item, Mark, Reason,
    reading::option::{self, NO_OPTION},
};

/// Times that VLMEvalKit asks its judge.
const TRIES: usize = 3;

/// The question, its hint and its options in the words of a harness.
pub(super) fn prompt(item: &Item, harness: Harness) -> String {
    let lines = || -> String {
        item.options.iter().map(|(letter, text)| format!("{letter}. {text}\n")).collect::<Vec<_>>().concat()
    };
    let hint = item.text("hint").filter(|hint| !hint.is_empty());
    match harness {
        _ if item.options.is_empty() => item.question.clone(),
        Harness::VlmEval => {
            let hint = hint.map(|hint| format!("Hint: {hint}\n")).unwrap_or_default();
            format!(
                "{hint}Question: {}\nOptions:\n{}Please select the correct answer from the options above. \n",
                item.question,
                lines()
            )
        }
        Harness::Lmms | Harness::Authors | Harness::Recipe => format!(
            "{}\n{}Answer with the option's letter from the given choices directly.",
            item.question,
            lines()
        ),
    }
}

/// VLMEvalKit: the inferred option; where there is none, the judge names one, and its reply is read in the same way.
pub(super) fn vlmeval(item: &Item, output: &str, asked: &mut Asked<'_>) -> Result<Mark, StageError> {
    vlmeval_of(&item.options, &item.answer, item, output, asked)
}

/// [`vlmeval`] with options and answer of one's own.
pub(super) fn vlmeval_of(
    options: &[(char, String)],
    answer: &str,
    item: &Item,
    output: &str,
    asked: &mut Asked<'_>,
) -> Result<Mark, StageError> {
    let is_right = |letter: char| answer.chars().eq([letter]);
    if let Some(letter) = option::infer(output, options) {
        let mark = Mark::read(letter, is_right(letter));
        return Ok(if letter == NO_OPTION { mark.with(Reason::Unread) } else { mark });
    }
    let prompt = name_option_prompt(item, options, output);
    Ok(match asked.until(&prompt, TRIES, |reply| option::infer(reply, options))? {
        Ok(letter) => Mark::read(letter, is_right(letter)).with(Reason::Judged),
        // The original draws a letter here.
        Err(reason) => Mark { answer: Some(NO_OPTION.into()), ..Mark::because(reason) },
    })
}

fn name_option_prompt(item: &Item, options: &[(char, String)], output: &str) -> String {
    let lines: Vec<String> = options.iter().map(|(letter, text)| format!("{letter}. {text}")).collect();
    crate::judging::fill(
        include_str!("../prompts/name_option.txt"),
        &[("question", &item.question), ("options", &lines.join("\n")), ("answer", output)],
    )
}
