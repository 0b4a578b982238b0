//! Rows as other programs write them: every spelling of a thing gives the same sample.

use std::{collections::HashMap, fs, sync::Arc};

use arrow::{
    array::{ArrayRef, ListArray, RecordBatch, StringArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema},
    ipc::writer::FileWriter,
};
use base64::Engine as _;
use parquet::arrow::ArrowWriter;
use reft_config::{DataConfig, PromptConfig};
use reft_core::{Form, Part, Sample};
use reft_data::{Dataset, OpenData};
use serde_json::{Value, json};

use crate::support::{chain, folder, load, png, shape};

fn samples(rows: &[Value]) -> Vec<Arc<Sample>> {
    let (_folder, path) = folder(rows);
    load(json!({"type": "file", "path": path}), &[Form::Open])
        .unwrap_or_else(|error| panic!("{error}"))
        .samples
}

fn notes(rows: &[Value]) -> Vec<String> {
    let (_folder, path) = folder(rows);
    let config: DataConfig = serde_json::from_value(json!({"type": "file", "path": path})).unwrap();
    OpenData::load(&config, &PromptConfig::default()).unwrap().notes().to_vec()
}

fn refused(row: Value, expected: &str) {
    let (_folder, path) = folder(&[row]);
    let error = chain(&load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap_err());
    assert!(error.contains(expected), "{error}");
}

#[test]
fn every_spelling_of_an_image_part() {
    let encoded = base64::engine::general_purpose::STANDARD.encode(png(40, 30));
    let url = format!("data:image/png;base64,{encoded}");
    let parts = [
        json!({"type": "image", "image": "cat.png"}),
        json!({"type": "image", "path": "cat.png"}),
        json!({"type": "image", "url": "cat.png"}),
        json!({"type": "image", "image": url}),
        json!({"type": "image", "base64": encoded}),
        json!({"type": "image", "bytes": encoded}),
        json!({"type": "image", "image": {"image": "cat.png"}}),
        json!({"type": "image_url", "image_url": {"url": url}}),
        json!({"type": "image_url", "image_url": url}),
        json!({"type": "input_image", "image_url": "cat.png"}),
    ];
    for part in parts {
        let row =
            json!({"messages": [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]});
        assert_eq!(shape(&samples(&[row])[0]), "User: <40x30>|What?", "{part}");
    }
    refused(
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://a.b/c.png"}]}]}),
        "nothing is fetched",
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_row() {
    let (folder, path) = folder(&[json!({"problem": "p", "solution": "s", "task": "math"})]);
    let marked = [b"\xef\xbb\xbf".to_vec(), fs::read(&path).unwrap()].concat();
    fs::write(&path, marked).unwrap();
    let table = folder.path().join("rows.tsv");
    fs::write(&table, "\u{feff}index\tquestion\tanswer\n1\tp\ts\n").unwrap();
    for path in [path, table] {
        let data = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap();
        assert_eq!(data.samples[0].problem, "p");
    }
}

#[test]
fn repeated_ids_are_told_apart() {
    let row =
        |problem: &str, id: &str| json!({"id": id, "problem": problem, "solution": "s", "task": "math"});
    let rows = [row("a", "x"), row("b", "x"), row("c", "x~2"), row("d", "x")];
    let ids: Vec<String> = samples(&rows).iter().map(|sample| sample.id.to_string()).collect();
    assert_eq!(ids, ["x", "x~2", "x~2~2", "x~3"]);
    assert!(
        notes(&rows)[0].starts_with("3 rows repeat the id of an earlier row, the first `x`"),
        "{:?}",
        notes(&rows)
    );
    assert!(notes(&rows[..1]).is_empty());
}

#[test]
fn columns_without_a_reader_are_named_once() {
    let row = json!({"problem": "p", "solution": "s", "task": "math", "ability": "sums", "extra_info": {"index": 1}, "tools": []});
    assert_eq!(notes(&[row.clone(), row]), ["columns that are not used: `ability`, `extra_info`"]);
}

/// A column or a turn; before single exchanges, which keep the prompt template, and before longer ones.
#[test]
fn system_prompts_reach_the_model() {
    let tail = PromptConfig::default().common;
    let human = |text: &str| json!({"from": "human", "value": text});
    let reply = json!({"from": "gpt", "value": "y"});
    let system = json!({"from": "system", "value": "Be brief."});
    let cases = [
        (json!({"task": "math", "conversations": [system, human("a"), reply]}), format!("User: a {tail}")),
        (
            json!({"task": "math", "system": "Be brief.", "conversations": [human("a"), reply]}),
            format!("User: a {tail}"),
        ),
        (
            json!({"task": "math", "system": "Be brief.", "conversations": [human("a"), reply, human("b"), reply]}),
            "User: a // Assistant: y // User: b".to_owned(),
        ),
        (
            json!({"task": "math", "system": "Be brief.", "problem": "a", "solution": "1"}),
            format!("User: a {tail}"),
        ),
        (
            json!({"system": "Be brief.", "messages": [{"role": "user", "content": "a"}]}),
            "User: a".to_owned(),
        ),
    ];
    for (row, rest) in cases {
        let sample = &samples(&[row])[0];
        assert_eq!(shape(sample), format!("System: Be brief. // {rest}"));
    }
    // The forms keep it.
    let rows =
        ["1", "2", "3"].map(|n| json!({"task": "math", "system": "Be brief.", "problem": n, "solution": n}));
    let (_folder, path) = folder(&rows);
    let binary = load(json!({"type": "file", "path": path}), &[Form::Binary]).unwrap();
    assert!(binary.samples.iter().all(|sample| shape(sample).starts_with("System: Be brief. // User: ")));
}

#[test]
fn names_and_boxes_of_ms_swift_stand_at_their_marks() {
    let row = |objects: Value, reply: &str| {
        json!({
            "messages": [
                {"role": "user", "content": "<image>Find <ref-object>."}, {"role": "assistant", "content": reply},
            ],
            "objects": objects, "images": ["cat.png"], "task": "detection",
        })
    };
    let sample = &samples(&[row(json!({"ref": ["the cat"], "bbox": [[1, 2, 30, 29.5]]}), "<bbox>")])[0];
    assert_eq!(shape(sample), "User: <40x30>|Find the cat.");
    assert_eq!(sample.solution, "[1, 2, 30, 29.5]");
    refused(row(json!({"ref": ["a"], "bbox": []}), "<bbox>"), "more <bbox> than `objects` has");
    refused(row(json!({"ref": ["a", "b"]}), "x"), "more than the text has marks");
    refused(row(json!({"ref": ["a"], "bbox": [[1, 2]]}), "<bbox>"), "four numbers");
    refused(row(json!({"ref": ["a"], "bbox_type": "norm1"}), "x"), "only `real`");
}

#[test]
fn more_marks_than_images_are_refused() {
    let row = |images: Value| json!({"messages": [{"role": "user", "content": "<image><image>What?"}], "images": images});
    refused(row(json!(["cat.png"])), "more <image> than images");
    // Without a column of images a mark is text.
    assert_eq!(shape(&samples(&[row(Value::Null)])[0]), "User: <image><image>What?");
}

#[test]
fn options_keep_their_letters() {
    let (folder, _) = folder(&[]);
    let path = folder.path().join("rows.tsv");
    fs::write(
        &path,
        "index\tquestion\tA\tB\tC\tD\tanswer\n1\tWhich?\t\tred\t\tblue\tD\n2\tWhich?\t\t\t\tblue\tx\n",
    )
    .unwrap();
    let data = load(json!({"type": "file", "path": path}), &[Form::Choice, Form::Open]).unwrap();
    assert_eq!(data.samples[0].problem, "Which? B. red D. blue");
    assert_eq!((data.samples[0].form, data.samples[1].form), (Form::Choice, Form::Open));
}

#[test]
fn boxes_as_json_values_are_solutions() {
    for solution in [json!([1, 2, 30, 40]), json!({"bbox_2d": [1, 2, 30, 40]}), json!([[1, 2, 30, 40]])] {
        let row = json!({"problem": "Where?", "solution": solution, "task": "detection", "image": "cat.png"});
        assert_eq!(samples(&[row])[0].solution, solution.to_string());
    }
}

/// `Json()` columns of the `datasets` library 5 are texts of Arrow's type `arrow.json`; older tables have plain texts.
#[test]
fn columns_of_json_text_hold_what_they_say() {
    let (folder, _) = folder(&[]);
    let turns = [
        json!({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]}),
        json!({"role": "assistant", "content": "there"}),
    ];
    let whole: ArrayRef = Arc::new(StringArray::from(vec![json!(turns).to_string()]));
    let each: ArrayRef = Arc::new(StringArray::from(turns.map(|turn| turn.to_string()).to_vec()));
    let json_type = [("ARROW:extension:name".to_owned(), "arrow.json".to_owned())];
    let json_field =
        |name: &str| Field::new(name, DataType::Utf8, true).with_metadata(HashMap::from(json_type.clone()));
    let item = Arc::new(json_field("item"));
    let list = ListArray::new(Arc::clone(&item), OffsetBuffer::from_lengths([2]), each, None);
    let columns: [(Field, ArrayRef); 3] = [
        (Field::new("messages", DataType::Utf8, true), Arc::clone(&whole)),
        (json_field("messages"), whole),
        (Field::new("messages", DataType::List(item), true), Arc::new(list)),
    ];
    let solution: ArrayRef = Arc::new(StringArray::from(vec!["[1, 2, 30, 40]"]));
    let images: ArrayRef = Arc::new(StringArray::from(vec!["[\"cat.png\"]"]));
    for (field, column) in columns {
        let fields = vec![field, json_field("solution"), json_field("images")];
        let schema = Arc::new(Schema::new(fields));
        let columns = vec![column, Arc::clone(&solution), Arc::clone(&images)];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let (arrow, table) = (folder.path().join("rows.arrow"), folder.path().join("rows.parquet"));
        let mut writer = FileWriter::try_new(fs::File::create(&arrow).unwrap(), &schema).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let mut writer = ArrowWriter::try_new(fs::File::create(&table).unwrap(), schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        for path in [arrow, table] {
            let data: Dataset =
                load(json!({"type": "file", "path": path, "task": "detection"}), &[Form::Open]).unwrap();
            assert_eq!(shape(&data.samples[0]), "User: <40x30>|Where?");
            assert_eq!(data.samples[0].solution, "[1,2,30,40]");
            assert!(matches!(&data.samples[0].messages[0].content[0], Part::Image(_)));
        }
    }
}
