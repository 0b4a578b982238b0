//! Samples for tests: one-digit sums in three forms.

use std::sync::Arc;

use reft_core::{
    BoxFrame, Demonstration, Form, ImageRef, ImageSize, ImageSource, Message, Part, Role, Sample, SampleId,
    Task,
};

use crate::png::tiny_png;

/// `n` open samples, at most 55: `0 + 0`, `0 + 1`, `1 + 0`, ... with one-digit results.
pub fn sums(n: usize) -> Vec<Arc<Sample>> {
    let pairs = (0..10_usize).flat_map(|total| (0..=total).map(move |a| (a, total - a)));
    pairs
        .take(n)
        .map(|(a, b)| {
            let problem = format!("{a} + {b}");
            Arc::new(Sample {
                id: format!("sum-{a}-{b}").into(),
                task: Task::Math,
                form: Form::Open,
                messages: vec![Message { role: Role::User, content: vec![Part::Text(problem.clone())] }],
                problem,
                solution: (a + b).to_string(),
                box_frame: BoxFrame::default(),
                parent: None,
            })
        })
        .collect()
}

/// A question of one turn that nobody has an answer to: what a policy is asked where no reward is paid.
pub fn chat(id: &str, content: Vec<Part>) -> Arc<Sample> {
    Arc::new(Sample {
        id: id.into(),
        task: Task::Math,
        form: Form::Open,
        problem: String::new(),
        messages: vec![Message { role: Role::User, content }],
        solution: String::new(),
        box_frame: BoxFrame::Original,
        parent: None,
    })
}

/// Each sample as a yes/no question, right for every other one.
pub fn as_binary(open: &[Arc<Sample>]) -> Vec<Arc<Sample>> {
    open.iter()
        .enumerate()
        .map(|(i, sample)| {
            let (claim, solution) = if i % 2 == 0 {
                (sample.solution.clone(), "yes")
            } else {
                (format!("{} and a half", sample.solution), "no")
            };
            let problem = format!("Is {} equal to {claim}?", sample.problem);
            converted(sample, Form::Binary, problem, solution)
        })
        .collect()
}

/// Each sample as a choice among four numbers; the right one takes each letter in turn.
pub fn as_choice(open: &[Arc<Sample>]) -> Vec<Arc<Sample>> {
    open.iter()
        .enumerate()
        .map(|(i, sample)| {
            let options: Vec<String> = (0..4)
                .map(|letter| {
                    if letter == i % 4 {
                        sample.solution.clone()
                    } else {
                        format!("{}{letter}", sample.solution)
                    }
                })
                .collect();
            let problem = format!("{}: {}", sample.problem, options.join(", "));
            let letter = ["A", "B", "C", "D"][i % 4];
            converted(sample, Form::Choice, problem, letter)
        })
        .collect()
}

fn converted(open: &Sample, form: Form, problem: String, solution: &str) -> Arc<Sample> {
    Arc::new(Sample {
        id: SampleId::from(format!("{}-{form}", open.id)),
        form,
        messages: vec![Message { role: Role::User, content: vec![Part::Text(problem.clone())] }],
        problem,
        solution: solution.to_owned(),
        parent: Some(open.id.clone()),
        ..open.clone()
    })
}

/// The sample with a one-colour image before its text.
pub fn with_image(sample: &Sample, size: ImageSize, rgb: [u8; 3]) -> Arc<Sample> {
    let image = ImageRef {
        source: ImageSource::Bytes(tiny_png(size.width, size.height, rgb).into()),
        size,
        label: format!("{}.png", sample.id).into(),
    };
    let mut sample = sample.clone();
    if let Some(message) = sample.messages.first_mut() {
        message.content.insert(0, Part::Image(image));
    }
    Arc::new(sample)
}

/// The right answer in the asked format.
pub fn demonstration(sample: &Arc<Sample>) -> Demonstration {
    Demonstration {
        sample: Arc::clone(sample),
        completion: format!("<think>hm</think><answer>{}</answer>", sample.solution),
    }
}
