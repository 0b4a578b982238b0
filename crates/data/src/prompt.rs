//! From a question to the messages that the model gets. Training and evaluation both come here, so they cannot differ.

use reft_config::PromptConfig;
use reft_core::{Form, ImageRef, Message, Part, Role, Task};

/// Where an image stands in a text.
pub(crate) const MARK: &str = "<image>";

/// The conversation of a sample: a system turn when there is one, and a user turn of images, question, common request
/// and the tail of the form and task, joined by single spaces.
pub fn messages(
    prompts: &PromptConfig,
    task: Task,
    form: Form,
    problem: &str,
    images: impl IntoIterator<Item = ImageRef>,
) -> Vec<Message> {
    let text = request(prompts, task, form, problem);
    conversation(prompts, images.into_iter().map(Part::Image).chain([Part::Text(text)]).collect())
}

/// [`messages`] with the images where the question has its marks `<image>`, of which there are as many.
pub(crate) fn messages_at_marks(
    prompts: &PromptConfig,
    task: Task,
    form: Form,
    problem: &str,
    images: Vec<ImageRef>,
) -> Vec<Message> {
    conversation(prompts, at_marks(&request(prompts, task, form, problem), &mut images.into_iter()))
}

/// A text with images where its marks are; line breaks beside them go.
pub(crate) fn at_marks(text: &str, images: &mut impl Iterator<Item = ImageRef>) -> Vec<Part> {
    let mut content = Vec::new();
    for (i, piece) in text.split(MARK).enumerate() {
        if i > 0 {
            content.extend(images.next().map(Part::Image));
        }
        let piece = piece.trim_matches('\n');
        if !piece.is_empty() {
            content.push(Part::Text(piece.to_owned()));
        }
    }
    content
}

/// A chat with this system prompt instead of its own.
pub(crate) fn with_system(system: Option<Message>, mut messages: Vec<Message>) -> Vec<Message> {
    if let Some(system) = system {
        messages.retain(|message| message.role != Role::System);
        messages.insert(0, system);
    }
    messages
}

/// Question, common request and tail.
fn request(prompts: &PromptConfig, task: Task, form: Form, problem: &str) -> String {
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
    text.join(" ")
}

fn conversation(prompts: &PromptConfig, content: Vec<Part>) -> Vec<Message> {
    let user = Message { role: Role::User, content };
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
