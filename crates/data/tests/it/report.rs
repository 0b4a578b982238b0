//! What is counted, and what of a data set occurs in another.

use std::fs;

use reft_core::{Form, PixelBudget, SampleId, Task};
use reft_data::{Contents, Counted, Report, Tokens};
use serde_json::json;

use crate::support::{folder, load, png, scenes};

#[test]
fn report_counts() {
    let rows = [
        json!({"problem": "p", "solution": "1", "task": "math", "image": "cat.png"}),
        json!({"problem": "P ", "solution": "1", "task": "math", "image": "copy.png"}),
        json!({"problem": "p", "solution": "1", "task": "math", "image": "dog.png"}),
        json!({"problem": "p", "solution": "2", "task": "math", "image": "dog.png"}),
        json!({"problem": "p", "solution": "1", "task": "vqa"}),
    ];
    let (folder, path) = folder(&rows);
    fs::write(folder.path().join("copy.png"), png(40, 30)).unwrap();
    let report = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap().report();
    assert_eq!(report.samples, 5);
    assert_eq!(report.tasks[&Task::Math], 4);
    assert_eq!(report.image_sizes["40x30"], 2);
    assert_eq!((report.distinct_images, report.text_only, report.duplicates), (2, 1, 1));
    assert_eq!(report.duplicate_of[0].each_ref().map(SampleId::as_str), ["rows-2", "rows-1"]);
}

#[test]
fn leaks_are_found_by_content_whatever_files_are_called() {
    let train = [
        json!({"problem": "How many?", "solution": "1", "image": "cat.png"}),
        json!({"problem": "Which?", "solution": "1", "image": "dog.png"}),
        json!({"problem": "1 + 1?", "solution": "2"}),
    ];
    let test = [
        json!({"problem": "how  many?", "solution": "1", "image": "renamed.png"}),
        json!({"problem": "What?", "solution": "1", "image": "renamed.png"}),
        json!({"problem": "Which?", "solution": "1", "image": "other.png"}),
        json!({"problem": "1 + 1?", "solution": "2"}),
    ];
    let (_train_folder, train) = folder(&train);
    let (test_folder, test) = folder(&test);
    fs::write(test_folder.path().join("renamed.png"), png(40, 30)).unwrap();
    fs::write(test_folder.path().join("other.png"), png(33, 33)).unwrap();
    let open =
        |path| load(json!({"type": "file", "path": path, "task": "math"}), &[Form::Open]).unwrap().samples;
    let overlap = Contents::of(&open(test)).overlap(&Contents::of(&open(train)), "train");
    let ids: Vec<[&str; 2]> =
        overlap.samples.iter().map(|pair| pair.each_ref().map(SampleId::as_str)).collect();
    assert_eq!(ids, [["rows-1", "rows-1"], ["rows-4", "rows-3"]]);
    assert_eq!((overlap.images, overlap.with.as_str()), (1, "train"));

    // Splits of the scenes are disjoint by construction.
    let scenes =
        |split: &str| Contents::of(&scenes(300, json!({"split": split}), &[Form::Open]).unwrap().samples);
    let overlap = scenes("test").overlap(&scenes("rl"), "rl");
    assert_eq!((overlap.samples.len(), overlap.images), (0, 0));
}

#[test]
fn tokens_of_images_are_counted_from_their_sizes() {
    let rows = [("cat.png", 0), ("dog.png", 1), ("large.png", 2), ("", 3)]
        .map(|(image, i)| json!({"problem": i, "solution": "1", "images": if image.is_empty() { vec![] } else { vec![image] }}));
    let (folder, path) = folder(&rows);
    fs::write(folder.path().join("large.png"), png(640, 480)).unwrap();
    let samples = load(json!({"type": "file", "path": path, "task": "math"}), &[Form::Open]).unwrap().samples;
    let budget = PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 3136, max_pixels: 1_003_520 };
    let tokens = Tokens::of_images(&samples, &budget, 100);
    // 640x480 becomes 644x476: 23 by 17 tokens. 40x30 and 20x20 become 84x56 and 56x56: 6 and 4 tokens.
    assert_eq!((tokens.min, tokens.median, tokens.max, tokens.total), (0, 4, 391, 401));
    assert_eq!((tokens.of, tokens.over_limit), (Counted::Images, vec![("rows-3".into(), 391)]));

    let lengths = Tokens::of_prompts(&samples, &[10, 20, 30, 40], 0);
    assert_eq!((lengths.min, lengths.median, lengths.p95, lengths.max), (10, 20, 40, 40));
    assert!(lengths.over_limit.is_empty());
    let report = Report { tokens: Some(lengths), ..Report::of(&samples) };
    assert_eq!(serde_json::to_value(report).unwrap()["tokens"]["of"], "prompts");
}
