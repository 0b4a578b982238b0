//! Invariants of the conversion, whatever the data: answers of any skew, boxes anywhere, sets that overlap.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use reft_config::PromptConfig;
use reft_core::{BoundingBox, Form, Sample, Seed, Task};
use reft_data::{
    DataError,
    forms::{FormSettings, LeftOut, convert},
};

use crate::support::open;

fn settings(options: usize, seed: u64) -> FormSettings {
    FormSettings { options, seed: Seed::new(seed) }
}

fn to(form: Form, samples: &[Arc<Sample>], settings: &FormSettings) -> Result<Vec<Arc<Sample>>, DataError> {
    convert(samples, form, &PromptConfig::default(), settings).map(|converted| converted.samples)
}

/// Numbers from a small range, so that equal answers abound; a few fractions that equal whole numbers.
fn math() -> impl Strategy<Value = Vec<Arc<Sample>>> {
    let value = prop_oneof![4 => (0..6_i32).prop_map(|n| n.to_string()), 1 => (0..6_i32).prop_map(|n| format!("{}/2", 2 * n))];
    prop::collection::vec((value, 0..3_usize), 1..80).prop_map(|rows| {
        rows.iter()
            .enumerate()
            .map(|(i, (value, question))| open(i, Task::Math, &format!("Question {question}?"), value))
            .collect()
    })
}

fn sets() -> impl Strategy<Value = Vec<Arc<Sample>>> {
    let set = prop::collection::btree_set(0..8_usize, 1..5);
    prop::collection::vec(set, 2..80).prop_map(|rows| {
        rows.iter()
            .enumerate()
            .map(|(i, set)| {
                let names: Vec<String> = set.iter().map(|n| format!("Class {n}")).collect();
                open(i, Task::Classification, "Which?", &names.join(", "))
            })
            .collect()
    })
}

fn boxes() -> impl Strategy<Value = Vec<Arc<Sample>>> {
    let place = (0..900_u32, 0..900_u32, 20..100_u32, 20..100_u32);
    prop::collection::vec(place, 1..80).prop_map(|rows| {
        rows.iter()
            .enumerate()
            .map(|(i, (x, y, w, h))| {
                let solution = format!("{{\"bbox_2d\": [{x}, {y}, {}, {}]}}", x + w, y + h);
                open(i, Task::Detection, "Where?", &solution)
            })
            .collect()
    })
}

/// Whether two answers of a task are the same, by a second, plainer definition than the conversion's.
fn same(task: Task, a: &str, b: &str) -> bool {
    let value = |text: &str| -> f64 {
        match text.split_once('/') {
            Some((n, d)) => n.parse::<f64>().unwrap() / d.parse::<f64>().unwrap(),
            None => text.parse().unwrap(),
        }
    };
    match task {
        Task::Math | Task::Vqa => value(a) == value(b),
        Task::Classification => set(a) == set(b),
        Task::Detection => place(a).iou(&place(b)) >= 0.3,
    }
}

fn set(text: &str) -> BTreeSet<&str> {
    text.split(", ").collect()
}

fn place(text: &str) -> BoundingBox {
    let inner = text.split(['[', ']']).nth(1).unwrap();
    let n: Vec<f64> = inner.split(", ").map(|n| n.parse().unwrap()).collect();
    BoundingBox::new(n[0], n[1], n[2], n[3]).unwrap()
}

fn check_binary(samples: &[Arc<Sample>], seed: u64) -> Result<(), TestCaseError> {
    let binary = to(Form::Binary, samples, &settings(4, seed)).unwrap();
    if binary.is_empty() {
        // Left out only where all answers are one.
        let first = &samples[0];
        prop_assert!(samples.iter().all(|s| same(s.task, &s.solution, &first.solution)));
        return Ok(());
    }
    prop_assert_eq!(binary.len(), samples.len());
    for (sample, parent) in binary.iter().zip(samples) {
        prop_assert_eq!(sample.parent.as_ref(), Some(&parent.id));
        prop_assert_eq!(sample.form, Form::Binary);
        let (question, shown) = sample.problem.split_once(" Is it ").unwrap();
        prop_assert_eq!(question, parent.problem.as_str());
        let shown = shown.strip_suffix('?').unwrap();
        let truth = same(sample.task, shown, &parent.solution);
        prop_assert_eq!(truth, sample.solution == "yes", "{} for {}", shown, parent.solution);
    }
    for pair in binary.chunks_exact(2) {
        prop_assert_ne!(&pair[0].solution, &pair[1].solution, "neighbours share a batch");
    }
    Ok(())
}

fn check_choice(samples: &[Arc<Sample>], options: usize, seed: u64) -> Result<(), TestCaseError> {
    let choice = to(Form::Choice, samples, &settings(options, seed)).unwrap();
    for sample in &choice {
        let parent = samples.iter().find(|parent| Some(&parent.id) == sample.parent.as_ref()).unwrap();
        let (_, listed) = sample.problem.split_once(" A. ").unwrap();
        let mut shown: Vec<&str> = Vec::new();
        let mut rest = listed;
        for letter in ["B", "C", "D", "E"] {
            let Some((option, after)) = rest.split_once(&format!(" {letter}. ")) else { break };
            shown.push(option);
            rest = after;
        }
        shown.push(rest);
        prop_assert!((2..=options).contains(&shown.len()), "{}", sample.problem);
        let right: Vec<usize> =
            sample.solution.split(", ").map(|l| usize::from(l.as_bytes()[0] - b'A')).collect();
        prop_assert!(right.len() < shown.len(), "a wrong option is there");
        for (i, option) in shown.iter().enumerate() {
            let is_right = match sample.task {
                Task::Classification => set(&parent.solution).contains(option),
                task => same(task, option, &parent.solution),
            };
            prop_assert_eq!(is_right, right.contains(&i), "{} / {}", sample.problem, parent.solution);
            for other in &shown[..i] {
                let double = match sample.task {
                    Task::Classification => option == other,
                    task => same(task, option, other),
                };
                prop_assert!(!double, "{} twice in {}", option, sample.problem);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn binary_is_right_and_balanced(math in math(), sets in sets(), boxes in boxes(), seed: u64) {
        check_binary(&math, seed)?;
        check_binary(&sets, seed)?;
        check_binary(&boxes, seed)?;
    }

    #[test]
    fn choice_is_right_and_without_doubles(
        math in math(), sets in sets(), boxes in boxes(), options in 2..=5_usize, seed: u64,
    ) {
        check_choice(&math, options, seed)?;
        check_choice(&sets, options, seed)?;
        check_choice(&boxes, options, seed)?;
    }

    #[test]
    fn conversion_follows_from_seed_and_samples(math in math(), sets in sets(), seed: u64) {
        let settings = settings(4, seed);
        for form in [Form::Binary, Form::Choice] {
            let (Ok(once), Ok(twice)) = (to(form, &math, &settings), to(form, &math, &settings)) else {
                continue;
            };
            prop_assert_eq!(&once, &twice);
            // Samples of another task change nothing.
            let mixed: Vec<Arc<Sample>> = math.iter().chain(&sets).cloned().collect();
            if let Ok(mixed) = to(form, &mixed, &settings) {
                prop_assert_eq!(&mixed[..once.len()], &once[..]);
            }
        }
    }
}

#[test]
fn right_positions_are_uniform() {
    let samples: Vec<_> = (0..400).map(|i| open(i, Task::Math, "Sum?", &(i % 23).to_string())).collect();
    let choice = to(Form::Choice, &samples, &settings(4, 0)).unwrap();
    for letter in ["A", "B", "C", "D"] {
        let count = choice.iter().filter(|s| s.solution == letter).count();
        assert!(count.abs_diff(100) <= 2, "{letter} is right {count} times of 400");
    }
}

#[test]
fn few_answers_give_few_options_rather_than_giveaways() {
    // Only 2, 3 and 4 ever occur; a fourth option could never be right and everybody would learn that.
    let samples: Vec<_> =
        (0..90).map(|i| open(i, Task::Math, "How many?", &(2 + i % 3).to_string())).collect();
    for sample in to(Form::Choice, &samples, &settings(4, 0)).unwrap() {
        for foreign in ["0", "1", "5", "6"] {
            assert!(!sample.problem.contains(&format!(". {foreign}")), "{}", sample.problem);
        }
    }
}

#[test]
fn one_sample_gets_slips() {
    let cases =
        [(Task::Math, "Sum?", "12"), (Task::Detection, "Where?", "{\"bbox_2d\": [100, 100, 300, 300]}")];
    for (task, problem, solution) in cases {
        let sample = [open(0, task, problem, solution)];
        let choice = to(Form::Choice, &sample, &settings(5, 0)).unwrap();
        assert!(choice[0].problem.contains(" E. "), "{}", choice[0].problem);
        check_binary(&sample, 3).unwrap();
    }
}

/// Samples that a form cannot ask are left out of it, and said.
#[test]
fn what_cannot_be_asked_is_left_out() {
    let classes = [
        open(0, Task::Classification, "Which?", "cat, dog"),
        open(1, Task::Classification, "Which?", "cat"),
        open(2, Task::Classification, "Which?", "dog"),
    ];
    for form in [Form::Binary, Form::Choice] {
        let converted = convert(&classes[..1], form, &PromptConfig::default(), &settings(4, 0)).unwrap();
        assert!(converted.samples.is_empty());
        assert_eq!(converted.left_out, [("s0".into(), LeftOut::NoWrongAnswer)]);
    }
    // The first has every class, so no option beside its own could be wrong.
    let converted = convert(&classes, Form::Choice, &PromptConfig::default(), &settings(4, 0)).unwrap();
    let asked: Vec<&str> = converted.samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(asked, ["s1#choice", "s2#choice"]);
    assert_eq!(converted.left_out, [("s0".into(), LeftOut::NoWrongAnswer)]);

    let boxes = ["No Objects", "[10, 10, 60, 60]", "None", "[]", "(700,700),(900,900)"];
    let boxes: Vec<_> =
        boxes.iter().enumerate().map(|(i, solution)| open(i, Task::Detection, "Where?", solution)).collect();
    for form in [Form::Binary, Form::Choice] {
        let converted = convert(&boxes, form, &PromptConfig::default(), &settings(4, 0)).unwrap();
        assert_eq!(converted.samples.len(), 2);
        assert_eq!(converted.left_out.len(), 3);
        assert!(converted.left_out.iter().all(|(_, reason)| *reason == LeftOut::NothingThere));
    }
}

#[test]
fn options_beyond_five_are_refused() {
    let sample = [open(0, Task::Math, "Sum?", "12")];
    for options in [0, 1, 6] {
        assert!(to(Form::Choice, &sample, &settings(options, 0)).is_err());
    }
}
