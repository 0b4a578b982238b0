//! From a question to the messages that the model gets. Training and evaluation both come here, so they cannot differ.

use reft_config::PromptConfig;
use reft_core::{Form, ImageRef, Message, Part, Role, Task};

/// The conversation of a sample: a system turn when there is one, and a user turn of images, question, common request
/// and the tail of the form and task, joined by single spaces.
pub fn messages(
    prompts: &PromptConfig,
    task: Task,
    form: Form,
    problem: &str,
    images: impl IntoIterator<Item = ImageRef>,
) -> Vec<Message> {
    let tail = match (form, task) {
        (Form::Binary, _) => &prompts.binary,
        (Form::Choice, Task::Classification) => &prompts.choice_many,
        (Form::Choice, _) => &prompts.choice_one,
        (Form::Open, Task::Detection) => &prompts.open_detection,
        (Form::Open, Task::Classification) => &prompts.open_classification,
        (Form::Open, Task::Math) => &prompts.open_math,
        (Form::Open, Task::Vqa) => &prompts.open_vqa,
    };
    let text: Vec<&str> = [problem, &prompts.common, tail]
        .into_iter()
        .map(str::trim)
        .filter(|piece| !piece.is_empty())
        .collect();
    let user = Message {
        role: Role::User,
        content: images.into_iter().map(Part::Image).chain([Part::Text(text.join(" "))]).collect(),
    };
    let system = (!prompts.system.is_empty())
        .then(|| Message { role: Role::System, content: vec![Part::Text(prompts.system.clone())] });
    system.into_iter().chain([user]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_order_and_empty_ones_left_out() {
        let prompts = PromptConfig {
            system: "Be brief.".into(),
            common: "Think.".into(),
            choice_one: "One letter.".into(),
            choice_many: "Letters.".into(),
            open_math: String::new(),
            ..PromptConfig::default()
        };
        let cases = [
            (Task::Math, Form::Choice, "Sum? Think. One letter."),
            (Task::Classification, Form::Choice, "Sum? Think. Letters."),
            (Task::Math, Form::Open, "Sum? Think."),
        ];
        for (task, form, expected) in cases {
            let messages = messages(&prompts, task, form, "Sum?", []);
            assert_eq!(messages[0].role, Role::System);
            assert_eq!(messages[1].content, [Part::Text(expected.into())]);
        }
    }
}
