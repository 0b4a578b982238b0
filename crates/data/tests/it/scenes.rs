//! Scenes: the same from the same seed, true to their domain, and their demonstrations end in the right answer.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field},
};
use parquet::arrow::ArrowWriter;
use reft_config::{DataConfig, PromptConfig, SceneData};
use reft_core::{Form, ImageSource, Sample, Task};
use reft_data::{
    rows,
    scene::{Operation, Question, SceneSet, Style, completion},
};
use serde_json::{Value, json};

use crate::support::{fixture, png, scenes};

fn config(settings: Value) -> SceneData {
    let mut config = json!({
        "type": "scenes", "glyphs": fixture("digits/digits.parquet"), "split": "rl", "count": 300,
    });
    for (key, value) in settings.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    match serde_json::from_value(config).unwrap() {
        DataConfig::Scenes(scenes) => scenes,
        DataConfig::File(_) | DataConfig::Mixture(_) => unreachable!("asked for scenes"),
    }
}

fn bytes(sample: &Sample) -> Vec<u8> {
    match &sample.images().next().unwrap().source {
        ImageSource::Bytes(bytes) => bytes.to_vec(),
        ImageSource::Path(_) | ImageSource::Stored(_) => unreachable!("scenes are made in memory"),
    }
}

#[test]
fn a_scene_follows_from_seed_and_index() {
    let prompts = PromptConfig::default();
    let set = SceneSet::new(&config(json!({}))).unwrap();
    let alone = set.scene(7, &prompts).unwrap();
    let among = scenes(10, json!({}), &[Form::Open]).unwrap();
    assert_eq!(*among.samples[7], alone.sample);
    let other = SceneSet::new(&config(json!({"seed": 1}))).unwrap().scene(7, &prompts).unwrap();
    assert_ne!(bytes(&other.sample), bytes(&alone.sample));
    assert_ne!(other.sample.id, alone.sample.id);
}

#[test]
fn scenes_are_true_to_their_domain() {
    let prompts = PromptConfig::default();
    for (domain, counts, sides) in [("id", 2..=4, 12..=13), ("ood", 4..=5, 10..=15)] {
        let set = SceneSet::new(&config(json!({"domain": domain}))).unwrap();
        let (mut unseen, mut math) = (0, 0);
        for index in 0..300 {
            let scene = set.scene(index, &prompts).unwrap();
            let placed = &scene.facts.placed;
            assert!(counts.contains(&placed.len()), "{domain}");
            let cells: BTreeSet<_> = placed.iter().map(|p| p.cell).collect();
            assert_eq!(cells.len(), placed.len(), "distinct cells");
            assert!(placed.iter().is_sorted_by_key(|p| p.cell), "reading order");
            for p in placed {
                assert!(sides.contains(&p.side), "{domain}: {}", p.side);
                assert!(p.x + p.side <= 64 && p.y + p.side <= 64, "on the canvas");
            }
            match &scene.facts.question {
                Question::Where { target } => {
                    let label = &placed[*target].label;
                    assert_eq!(
                        placed.iter().filter(|p| p.label == *label).count(),
                        1,
                        "asked label is unique"
                    );
                }
                Question::Math(operation) => {
                    math += 1;
                    unseen += usize::from(matches!(
                        operation,
                        Operation::SumOfLargest | Operation::ProductOfSmallest | Operation::Smaller(_)
                    ));
                }
                Question::Which
                | Question::Cells { .. }
                | Question::Check(_)
                | Question::Shape(_)
                | Question::ReadAll
                | Question::ListAll => {}
            }
        }
        assert_eq!(math, 100);
        let expected = if domain == "id" { 0..=0 } else { 10..=40 };
        assert!(expected.contains(&unseen), "{domain}: {unseen} unseen operations of {math}");
    }
}

#[test]
fn glyphs_stand_where_the_box_says() {
    // On a dark even background the ink is brighter than everything outside the boxes.
    let set = SceneSet::new(&config(json!({}))).unwrap();
    for index in 0..50 {
        let scene = set.scene(index, &PromptConfig::default()).unwrap();
        let image = image::load_from_memory(&bytes(&scene.sample)).unwrap().into_luma8();
        let inside = |x: u32, y: u32| {
            scene.facts.placed.iter().any(|p| {
                let [x1, y1, x2, y2] = p.corners();
                (x1..x2).contains(&x) && (y1..y2).contains(&y)
            })
        };
        for (x, y, pixel) in image.enumerate_pixels() {
            assert!(inside(x, y) || pixel.0[0] < 80, "scene {index}: ink outside all boxes at {x}, {y}");
        }
        for p in &scene.facts.placed {
            let [x1, y1, x2, y2] = p.corners();
            let brightest = (y1..y2)
                .flat_map(|y| (x1..x2).map(move |x| (x, y)))
                .map(|(x, y)| image.get_pixel(x, y).0[0])
                .max();
            assert!(brightest > Some(150), "scene {index}: no ink in {:?}", p.cell);
        }
    }
}

#[test]
fn solutions_by_a_second_reading() {
    let data = scenes(90, json!({"transcription": 0.3}), &[Form::Open]).unwrap();
    let demonstrations = data.demonstrations();
    assert_eq!(demonstrations.len(), 90);
    let mut tasks = BTreeSet::new();
    for d in demonstrations {
        tasks.insert(d.sample.task);
        let (thinking, answer) =
            d.completion.strip_prefix("<think>").unwrap().split_once("</think><answer>").unwrap();
        let answer = answer.strip_suffix("</answer>").unwrap();
        assert_eq!(answer, d.sample.solution);
        if d.sample.task == Task::Vqa {
            assert_eq!(answer.split(' ').count(), 16, "a full grid");
            continue;
        }
        let reading = thinking.split("; ").next().unwrap();
        let digits: Vec<i64> = reading.split(' ').map(|r| r[..1].parse().unwrap()).collect();
        match d.sample.task {
            Task::Classification => {
                let set: BTreeSet<String> = digits.iter().map(ToString::to_string).collect();
                assert_eq!(answer, set.into_iter().collect::<Vec<_>>().join(", "));
            }
            Task::Math if d.sample.problem.contains("sum of all") => {
                assert_eq!(answer, digits.iter().sum::<i64>().to_string());
                assert!(thinking.ends_with(&format!("= {answer}")), "{thinking}");
            }
            Task::Detection => {
                let cell = i64::from(thinking.as_bytes()[thinking.len() - 1] - b'a');
                let (column, row) = (cell % 4, cell / 4);
                let inner = answer.split(['[', ']']).nth(1).unwrap();
                let corners: Vec<i64> = inner.split(", ").map(|n| n.parse().unwrap()).collect();
                assert_eq!(i64::midpoint(corners[0], corners[2]) / 16, column, "{thinking} {answer}");
                assert_eq!(i64::midpoint(corners[1], corners[3]) / 16, row, "{thinking} {answer}");
            }
            Task::Math | Task::Vqa => {}
        }
    }
    assert_eq!(tasks.len(), 4);
}

#[test]
fn careful_is_a_share() {
    let hasty = |careful: f64| {
        let data = scenes(300, json!({"careful": careful}), &[Form::Open]).unwrap();
        data.demonstrations()
            .iter()
            .filter(|d| d.completion.starts_with("<think>at a glance</think>"))
            .count()
    };
    assert_eq!(hasty(1.0), 0);
    assert_eq!(hasty(0.0), 300);
    assert!((90..=150).contains(&hasty(0.6)), "120 expected");
}

#[test]
fn open_questions_may_have_a_share_of_their_own_and_reading_is_a_style() {
    let settings = json!({"careful": 0.5, "careful_open": 0.0, "reading": 0.5, "tasks": ["math"]});
    let data = scenes(100, settings, &Form::ALL).unwrap();
    for demonstration in data.demonstrations() {
        let (form, text) = (demonstration.sample.form, &demonstration.completion);
        let is_hasty = text.contains("at a glance");
        let works = text.contains("; ");
        assert!(!works || form != Form::Open, "{text}");
        assert!(!is_hasty || form == Form::Open, "{text}");
    }
    let error = scenes(5, json!({"careful": 0.6, "reading": 0.5}), &[Form::Open]).unwrap_err().to_string();
    assert!(error.contains("reading"), "{error}");
}

#[test]
fn cells_are_looked_up_in_what_was_read() {
    let data = scenes(200, json!({"cells": 1.0}), &Form::ALL).unwrap();
    let mut forms = BTreeSet::new();
    for demonstration in data.demonstrations() {
        let (sample, text) = (&demonstration.sample, &demonstration.completion);
        forms.insert(sample.form);
        let asked = sample.problem.strip_prefix("Which cells hold ").unwrap().split_once('?').unwrap().0;
        let thinking = text.strip_prefix("<think>").unwrap().split_once("</think>").unwrap().0;
        let [reading, found] = [0, 1].map(|i| thinking.split("; ").nth(i).unwrap());
        let read: BTreeSet<&str> = reading.split(' ').collect();
        let found: Vec<&str> = found.split(' ').collect();
        let (labels, cells): (Vec<&str>, Vec<&str>) = found.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
        assert!(labels.iter().zip(&cells).all(|(label, cell)| read.contains(&*format!("{label}{cell}"))));
        assert_eq!(labels.join(", "), asked);
        let accepted: Vec<String> = cells.iter().map(|cell| format!("{cell} = {cell}")).collect();
        let accepted = format!("{}? yes", accepted.join(" "));
        let cells = cells.join(", ");
        match sample.form {
            Form::Open => assert_eq!(sample.solution, cells),
            Form::Binary => {
                let shown = sample.problem.rsplit_once(" Is it ").unwrap().1.trim_end_matches('?');
                assert_eq!(sample.solution == "yes", shown == cells, "{} {text}", sample.problem);
                assert_eq!(sample.solution == "yes", text.contains(&accepted), "{text}");
                assert!(text.contains(&format!("? {}</think>", sample.solution)), "{text}");
            }
            Form::Choice => {
                let right = format!("{} {accepted}", sample.solution);
                assert!(text.contains(&right), "{text}");
            }
        }
    }
    assert_eq!(forms.len(), 3);
}

#[test]
fn blank_scenes_ask_the_same() {
    let [seen, blank] = [false, true]
        .map(|blank| scenes(20, json!({"cells": 0.3, "blank": blank}), &[Form::Open, Form::Binary]).unwrap());
    for (seen, blank) in seen.samples.iter().zip(&blank.samples) {
        assert_eq!((&seen.problem, &seen.solution), (&blank.problem, &blank.solution));
        let picture = image::load_from_memory(&bytes(blank)).unwrap().into_rgb8();
        assert!(picture.pixels().all(|pixel| pixel.0 == [128; 3]));
    }
}

#[test]
fn checks_are_right() {
    let data = scenes(120, json!({"checking": 1.0}), &[Form::Open]).unwrap();
    let (mut labels, mut cells, mut given) = ([0, 0], [0, 0], [0, 0]);
    for demonstration in data.demonstrations() {
        let text =
            demonstration.completion.strip_prefix("<think>").unwrap().strip_suffix("</answer>").unwrap();
        let (reading, verdicts) = text.split_once("</think><answer>").unwrap();
        let read: BTreeSet<&str> = reading.split(' ').collect();
        // `7 o; k = o? no, o = o? yes` about cells, `7 o? yes, 3 none? no` about labels, `3 5; 3 = 3 7 = 5? no` about words.
        let is_cell = |(_, cell): &(&str, &str)| cell.len() == 1 && cell.starts_with(char::is_alphabetic);
        let (target, verdicts) = match verdicts.split_once("; ") {
            Some((found, verdicts)) => (found.split_once(' ').filter(is_cell), verdicts),
            None => (None, verdicts),
        };
        for verdict in verdicts.split(", ") {
            let (words, said) = verdict.split_once("? ").unwrap();
            let (is_so, counts) = if let Some((label, cell)) = target {
                let (claim, found) = words.split_once(" = ").unwrap();
                assert_eq!(found, cell, "{text}");
                (read.contains(&*format!("{label}{claim}")), &mut cells)
            } else if words.contains(" = ") {
                let pairs: Vec<&str> = words.split(' ').collect();
                (pairs.chunks(3).all(|pair| pair[0] == pair[2]), &mut given)
            } else {
                let (label, cell) = words.split_once(' ').unwrap();
                assert_eq!(cell != "none", read.contains(&*format!("{label}{cell}")), "{text}");
                (read.iter().any(|read| &read[..1] == label), &mut labels)
            };
            assert_eq!(said, if is_so { "yes" } else { "no" }, "{text}");
            counts[usize::from(is_so)] += 1;
        }
    }
    let share = |[no, yes]: [usize; 2]| yes as f64 / (no + yes) as f64;
    assert!((0.4..0.6).contains(&share(labels)), "{labels:?}");
    assert!((0.4..0.6).contains(&share(given)), "{given:?}");
    assert!((0.13..0.25).contains(&share(cells)), "three in sixteen: {cells:?}");
}

#[test]
fn shapes_are_asked_about_in_one_word() {
    let data = scenes(60, json!({"shapes": 1.0}), &Form::ALL).unwrap();
    let demonstrations = data.demonstrations();
    assert_eq!(demonstrations.len(), 60, "shapes have the open form only");
    for demonstration in demonstrations {
        let Sample { task, solution, .. } = &*demonstration.sample;
        assert_eq!((*task, solution.contains(' ')), (Task::Vqa, false));
        let picture = image::load_from_memory(&bytes(&demonstration.sample)).unwrap().into_rgb8();
        assert!(
            picture.pixels().map(|pixel| pixel.0).collect::<BTreeSet<_>>().len() >= 2,
            "an empty picture"
        );
    }
}

#[test]
fn styles_differ_only_in_thinking() {
    let set = SceneSet::new(&config(json!({}))).unwrap();
    let scene = set.scene(0, &PromptConfig::default()).unwrap();
    let tail = |style| {
        let text = completion(&scene.sample, &scene.facts, style);
        text.split_once("</think>").map(|(_, tail)| tail.to_owned()).unwrap()
    };
    assert_eq!(tail(Style::Careful), tail(Style::Hasty));
}

#[test]
fn lists_hold_what_was_read_by_value() {
    let data = scenes(60, json!({"listing": 0.5, "transcription": 0.2}), &[Form::Open]).unwrap();
    let lists: Vec<_> = data
        .demonstrations()
        .into_iter()
        .filter(|d| d.sample.problem == "List all digits by value.")
        .collect();
    assert!((20..=40).contains(&lists.len()), "30 expected: {}", lists.len());
    for list in lists {
        let text = list.completion.strip_prefix("<think>").unwrap().strip_suffix("</answer>").unwrap();
        let (read, listed) = text.split_once("</think><answer>").unwrap();
        let [read, listed] = [read, listed].map(|text| text.split(' ').collect::<Vec<_>>());
        assert!((5..=9).contains(&listed.len()), "{text}");
        let values = |items: &[&str]| items.iter().map(|item| item.chars().next()).collect::<Vec<_>>();
        assert!(values(&listed).is_sorted(), "{text}");
        assert_eq!(values(&listed).iter().collect::<BTreeSet<_>>().len(), listed.len(), "{text}");
        assert_eq!(read.iter().collect::<BTreeSet<_>>(), listed.iter().collect(), "{text}");
    }

    let error =
        scenes(5, json!({"listing": 0.6, "transcription": 0.5}), &[Form::Open]).unwrap_err().to_string();
    assert!(error.contains("listing"), "{error}");
}

#[test]
fn careful_answers_compare_what_they_were_shown() {
    let data = scenes(120, json!({}), &Form::ALL).unwrap();
    for demonstration in data.demonstrations() {
        let (sample, completion) = (&demonstration.sample, &demonstration.completion);
        let thinking = completion.split_once("</think>").unwrap().0;
        let reading = thinking.strip_prefix("<think>").unwrap().split("; ").next().unwrap();
        assert!(reading.split(' ').count() >= 2, "{thinking}");
        let last = thinking.rsplit("; ").next().unwrap();
        match sample.form {
            Form::Open => assert!(!thinking.contains('?') && !last.starts_with("so "), "{thinking}"),
            Form::Binary => {
                // A box is compared by its cell, a number in words, classes one by one up to the first that differs.
                assert!(
                    last.ends_with(&format!("? {}", sample.solution)),
                    "{}: {completion}",
                    sample.problem
                );
                let pairs = last.split_once('?').unwrap().0;
                let words: Vec<&str> = pairs.split(" = ").flat_map(|part| part.split(' ')).collect();
                let is_same = words.chunks(2).all(|pair| pair[0] == pair[1]);
                assert_eq!(is_same, sample.solution == "yes", "{}: {completion}", sample.problem);
            }
            Form::Choice => {
                assert_eq!(last, format!("so {}", sample.solution));
                let letters = sample.solution.split(", ").count();
                assert_eq!(thinking.matches("? yes").count(), letters, "{}: {completion}", sample.problem);
                let options = sample.problem.matches(". ").count();
                assert_eq!(thinking.matches("? ").count(), options, "{}: {completion}", sample.problem);
            }
        }
        // What was found, a digit's cell or a number, and what is said to be right are the same words.
        let steps: Vec<&str> = thinking.split("; ").collect();
        let found = match sample.task {
            Task::Detection => steps[1].split_once(' ').unwrap().1,
            Task::Math if sample.form != Form::Open => steps[2],
            _ => continue,
        };
        let accepted = thinking.contains(&format!(" {found} = {found}? yes"));
        assert_eq!(accepted, thinking.contains("? yes"), "{}: {completion}", sample.problem);
    }
}

#[test]
fn digit_splits_share_no_image() {
    let mut seen = BTreeSet::new();
    let mut splits = std::collections::BTreeMap::<String, usize>::new();
    for row in rows::open(&fixture("digits/digits.parquet")).unwrap() {
        let (_, row) = row.unwrap();
        let Some(rows::Field::Struct(image)) = row.get("image") else { panic!("no image") };
        let Some(rows::Field::Bytes(bytes)) = image.get("bytes") else { panic!("no bytes") };
        assert!(seen.insert(bytes.to_vec()), "an image occurs twice");
        *splits.entry(row.get("split").unwrap().display().unwrap()).or_default() += 1;
    }
    let expected = [("base", 600), ("rl", 600), ("test", 447), ("val", 150)];
    assert_eq!(splits.iter().map(|(k, v)| (k.as_str(), *v)).collect::<Vec<_>>(), expected);
}

#[test]
fn glyphs_need_not_be_digits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("animals.parquet");
    let labels = ["cat", "dog", "emu", "fox", "gnu"];
    let images = StructArray::from(vec![(
        Arc::new(Field::new("bytes", DataType::Binary, true)),
        Arc::new(labels.iter().map(|_| Some(png(9, 9))).collect::<BinaryArray>()) as ArrayRef,
    )]);
    let batch = RecordBatch::try_from_iter([
        ("image", Arc::new(images) as ArrayRef),
        ("label", Arc::new(StringArray::from_iter_values(labels))),
        ("split", Arc::new(StringArray::from_iter_values(["wild"; 5]))),
    ])
    .unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let animals = json!({"glyphs": path, "split": "wild", "tasks": ["classify", "detection"]});
    let data = scenes(30, animals.clone(), &Form::ALL).unwrap();
    assert_eq!(data.demonstrations().len(), 90);
    assert!(data.samples.iter().any(|s| s.problem == "Which things are there?"));
    assert!(data.samples.iter().any(|s| s.problem == "Where is the emu?"));

    let mut with_math = animals;
    with_math["tasks"] = json!(["math"]);
    let error = scenes(5, with_math, &[Form::Open]).unwrap_err().to_string();
    assert!(error.contains("`math` needs labels that are numbers, and `cat` is none"), "{error}");
}
