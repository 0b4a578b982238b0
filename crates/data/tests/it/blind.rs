//! Answering converted questions without the image must not beat chance.
//!
//! Each attack learns a rule on one half of the samples and is scored on the other half. The bound is five standard
//! errors above chance, so a sound conversion fails about once in three million runs of an attack, and the data are fixed.

use std::{collections::HashMap, sync::LazyLock};

use rand::Rng as _;
use reft_config::PromptConfig;
use reft_core::{Form, Sample, Seed, Task};
use reft_data::forms::{FormSettings, convert};
use serde_json::json;

use crate::support::{open, scenes};

type Samples = Vec<std::sync::Arc<Sample>>;

/// Scenes of both forms are the case that matters; made-up data have uglier distributions.
static DATA_SETS: LazyLock<[(&str, Samples); 2]> = LazyLock::new(|| {
    let scenes = scenes(2400, json!({}), &[Form::Open]).expect("scenes").samples;
    [("scenes", scenes), ("skewed", skewed())]
});

/// Answers with heavy heads, long tails, varying lengths, and boxes that crowd the middle.
fn skewed() -> Samples {
    let mut rng = Seed::new(5).rng();
    let classes = ["person", "dog", "traffic light", "cat", "car", "a very large bus", "tree", "cup"];
    (0..3000)
        .map(|i| match i % 4 {
            0 => {
                let count = (rng.random::<f64>().powi(3) * 12.0) as u32;
                open(i, Task::Math, "How many are there?", &count.to_string())
            }
            1 => {
                let length = (rng.random::<f64>() * 9.0).exp();
                open(i, Task::Math, &format!("Find the length of side {i}."), &format!("{length:.1}"))
            }
            2 => {
                let names: Vec<&str> = classes
                    .iter()
                    .enumerate()
                    .filter(|(rank, _)| rng.random::<f64>() < 0.6 / (*rank as f64 + 1.0) + 0.08)
                    .map(|(_, name)| *name)
                    .collect();
                let names = if names.is_empty() { "cup".to_owned() } else { names.join(", ") };
                open(i, Task::Classification, "What is in the picture?", &names)
            }
            _ => {
                let mut side = || 100 + (rng.random::<f64>() * 300.0) as u32;
                let (w, h) = (side(), side());
                let mut start =
                    |side: u32| (f64::midpoint(rng.random(), rng.random()) * f64::from(1000 - side)) as u32;
                let (x, y) = (start(w), start(h));
                let solution = format!("{{\"bbox_2d\": [{x}, {y}, {}, {}]}}", x + w, y + h);
                open(i, Task::Detection, &format!("Where is the {}?", classes[i / 4 % 8]), &solution)
            }
        })
        .collect()
}

fn converted(samples: &Samples, form: Form, task: Task) -> Samples {
    let settings = FormSettings { seed: Seed::new(9), ..FormSettings::default() };
    let all = convert(samples, form, &PromptConfig::default(), &settings).expect("converts").samples;
    all.into_iter().filter(|sample| sample.task == task).collect()
}

const TASKS: [Task; 3] = [Task::Detection, Task::Classification, Task::Math];

/// `chance` plus five standard errors of `n` tries.
fn bound(chance: f64, n: usize) -> f64 {
    chance + 5.0 * (chance * (1.0 - chance) / n as f64).sqrt()
}

/// The text between the question and the end: `Is it 12?` gives `12`.
fn shown(sample: &Sample) -> &str {
    sample.problem.split_once(" Is it ").map_or("", |(_, rest)| rest.trim_end_matches('?'))
}

/// `A. 10 B. 12` gives `["10", "12"]`.
fn options(sample: &Sample) -> Vec<&str> {
    let mut rest = sample.problem.split_once(" A. ").map_or("", |(_, rest)| rest);
    let mut options = Vec::new();
    for letter in ["B", "C", "D", "E"] {
        let Some((option, after)) = rest.split_once(&format!(" {letter}. ")) else { break };
        options.push(option);
        rest = after;
    }
    options.push(rest);
    options
}

fn first_number(text: &str) -> f64 {
    let digits: String = text
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    digits.parse().unwrap_or(-1.0)
}

type Feature = fn(&Sample) -> String;

#[test]
fn yes_and_no_cannot_be_told_from_the_text() {
    let features: [(&str, Feature); 6] = [
        ("constant", |_| String::new()),
        ("question", |s| s.problem.split(" Is it ").next().unwrap_or_default().into()),
        ("shown", |s| shown(s).into()),
        ("whole text", |s| s.problem.clone()),
        ("length", |s| shown(s).len().to_string()),
        ("last digit", |s| shown(s).chars().last().into_iter().collect()),
    ];
    for (name, samples) in &*DATA_SETS {
        for task in TASKS {
            let binary = converted(samples, Form::Binary, task);
            for (feature_name, feature) in &features {
                let (learn, score) = binary.split_at(binary.len() / 2);
                let mut votes: HashMap<String, i64> = HashMap::new();
                for sample in learn {
                    *votes.entry(feature(sample)).or_default() +=
                        if sample.solution == "yes" { 1 } else { -1 };
                }
                let right = score.iter().filter(|sample| {
                    let vote = votes.get(&feature(sample)).copied().unwrap_or(0);
                    (vote > 0) == (sample.solution == "yes")
                });
                let accuracy = right.count() as f64 / score.len() as f64;
                assert!(
                    accuracy < bound(0.5, score.len()),
                    "{name} {task}: {feature_name} answers {accuracy:.3} of yes/no questions"
                );
            }
        }
    }
}

#[test]
fn every_statement_is_as_often_right_as_wrong() {
    for (name, samples) in &*DATA_SETS {
        for task in TASKS {
            let binary = converted(samples, Form::Binary, task);
            let mut balance: HashMap<&str, i64> = HashMap::new();
            for sample in &binary {
                *balance.entry(shown(sample)).or_default() += if sample.solution == "yes" { 1 } else { -1 };
            }
            let off: i64 = balance.values().map(|n| n.abs()).sum();
            // Pairs cancel; only those that found no partner remain.
            assert!(off as f64 <= 0.02 * binary.len() as f64, "{name} {task}: {off} of {}", binary.len());
        }
    }
}

/// Rules that look at the options and pick one.
fn pick(rule: &str, options: &[&str], prior: &HashMap<String, (f64, f64)>) -> usize {
    let by = |value: &dyn Fn(&str) -> f64, from_top: usize| {
        let mut order: Vec<usize> = (0..options.len()).collect();
        order.sort_by(|&a, &b| value(options[b]).total_cmp(&value(options[a])));
        order[from_top.min(order.len() - 1)]
    };
    match rule {
        "A" => 0,
        "B" => 1.min(options.len() - 1),
        "last" => options.len() - 1,
        "largest" => by(&first_number, 0),
        "second largest" => by(&first_number, 1),
        "third largest" => by(&first_number, 2),
        "smallest" => by(&|o| -first_number(o), 0),
        "longest" => by(&|o| o.len() as f64, 0),
        "shortest" => by(&|o| -(o.len() as f64), 0),
        "nearest to the mean" => {
            let mean = options.iter().map(|o| first_number(o)).sum::<f64>() / options.len() as f64;
            by(&|o| -(first_number(o) - mean).abs(), 0)
        }
        "most often right so far" => {
            by(&|o| prior.get(o).map_or(0.0, |(right, seen)| (right + 1.0) / (seen + 2.0)), 0)
        }
        "most often shown so far" => by(&|o| prior.get(o).map_or(0.0, |(_, seen)| *seen), 0),
        other => unreachable!("no rule {other}"),
    }
}

#[test]
fn single_choice_cannot_be_told_from_the_options() {
    let rules = [
        "A",
        "B",
        "last",
        "largest",
        "second largest",
        "third largest",
        "smallest",
        "longest",
        "shortest",
        "nearest to the mean",
        "most often right so far",
        "most often shown so far",
    ];
    for (name, samples) in &*DATA_SETS {
        for task in [Task::Detection, Task::Math] {
            let choice = converted(samples, Form::Choice, task);
            let (learn, score) = choice.split_at(choice.len() / 2);
            let letter = |sample: &Sample| usize::from(sample.solution.as_bytes()[0] - b'A');
            let mut prior: HashMap<String, (f64, f64)> = HashMap::new();
            for sample in learn {
                for (i, option) in options(sample).into_iter().enumerate() {
                    let entry = prior.entry(option.to_owned()).or_default();
                    entry.0 += f64::from(u8::from(i == letter(sample)));
                    entry.1 += 1.0;
                }
            }
            let chance =
                score.iter().map(|s| 1.0 / options(s).len() as f64).sum::<f64>() / score.len() as f64;
            for rule in rules {
                let right = score.iter().filter(|s| pick(rule, &options(s), &prior) == letter(s)).count();
                let accuracy = right as f64 / score.len() as f64;
                assert!(
                    accuracy < bound(chance, score.len()),
                    "{name} {task}: {rule} answers {accuracy:.3}, chance is {chance:.3}"
                );
            }
        }
    }
}

#[test]
fn classes_cannot_be_told_from_the_options() {
    for (name, samples) in &*DATA_SETS {
        let choice = converted(samples, Form::Choice, Task::Classification);
        let (learn, score) = choice.split_at(choice.len() / 2);
        let is_right = |sample: &Sample, i: usize| sample.solution.contains(char::from(b'A' + i as u8));

        // Whether an option is right cannot be told from its name or its place.
        for feature in ["name", "place"] {
            let key = |i: usize, option: &str| match feature {
                "name" => option.to_owned(),
                _ => i.to_string(),
            };
            let mut votes: HashMap<String, i64> = HashMap::new();
            for sample in learn {
                for (i, option) in options(sample).into_iter().enumerate() {
                    *votes.entry(key(i, option)).or_default() += if is_right(sample, i) { 1 } else { -1 };
                }
            }
            let (mut hits, mut all) = (0, 0);
            for sample in score {
                for (i, option) in options(sample).into_iter().enumerate() {
                    let guess = votes.get(&key(i, option)).copied().unwrap_or(0) > 0;
                    hits += usize::from(guess == is_right(sample, i));
                    all += 1;
                }
            }
            let accuracy = hits as f64 / all as f64;
            // Options of a question are not independent, so the bound counts questions.
            assert!(accuracy < bound(0.5, score.len()), "{name}: {feature} tells {accuracy:.3}");
        }

        // No constant answer does well: the best of the fourteen patterns stays near one in eight.
        let mut patterns: HashMap<&str, usize> = HashMap::new();
        for sample in &choice {
            *patterns.entry(sample.solution.as_str()).or_default() += 1;
        }
        let best = patterns.values().max().copied().unwrap_or(0) as f64 / choice.len() as f64;
        assert!(best < 0.2, "{name}: one pattern answers {best:.3}");
    }
}
