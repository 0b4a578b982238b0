//! What is said about data that cannot be used: always the file, the row, and what to do.

use std::{fs, path::Path};

use reft_core::Form;
use serde_json::{Value, json};

use crate::support::{chain, fixture, folder, load, png, scenes};

/// Loads rows and expects an error that holds all of `expected`.
fn refused(name: &str, rows: &[Value], settings: Value, expected: &[&str]) {
    let (_folder, path) = folder(rows);
    refused_file(name, &path, settings, expected);
}

fn refused_file(name: &str, path: &Path, settings: Value, expected: &[&str]) {
    let mut config = json!({"type": "file", "path": path});
    for (key, value) in settings.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let error = match load(config, &[Form::Open]) {
        Ok(data) => panic!("{name}: loaded {} samples", data.samples.len()),
        Err(error) => chain(&error),
    };
    for part in expected {
        assert!(error.contains(part), "{name}: `{part}` is not in: {error}");
    }
}

#[test]
fn rows() {
    let good = json!({"problem": "p", "solution": "s", "task": "math"});
    let question = |changes: Value| {
        let mut row = good.clone();
        for (key, value) in changes.as_object().into_iter().flatten() {
            row[key] = value.clone();
        }
        row
    };
    let turns = |turns: Value, image: Value| json!({"task": "math", "conversations": turns, "image": image});
    let human = |text: &str| json!({"from": "human", "value": text});
    let cases: [(&str, Value, &[&str]); 22] = [
        (
            "no solution",
            json!({"problem": "p", "task": "math"}),
            &["line 2", "`solution` or `answer`", "`problem`"],
        ),
        ("null solution", question(json!({"solution": null})), &["line 2", "`solution` or `answer`"]),
        ("no task", json!({"problem": "p", "solution": "s"}), &["line 2", "names no task", "set `task`"]),
        (
            "unknown task",
            question(json!({"task": "poetry"})),
            &["line 2", "column `task`", "poetry", "detection"],
        ),
        (
            "problem is an object",
            question(json!({"problem": {}})),
            &["line 2", "`problem` should be text", "an object"],
        ),
        (
            "missing image",
            question(json!({"image": "gone.png"})),
            &["line 2", "`gone.png`", "relative to the data file"],
        ),
        ("image is a number", question(json!({"image": 3})), &["line 2", "an image is a path"]),
        (
            "image of nothing",
            question(json!({"images": [{"bytes": null}]})),
            &["line 2", "neither bytes nor a path"],
        ),
        (
            "damaged image",
            question(json!({"image": "damaged.png"})),
            &["line 2", "`damaged.png`", "is damaged"],
        ),
        (
            "a pointer of Git LFS",
            question(json!({"image": "pointer.png"})),
            &["line 2", "`pointer.png`", "git lfs pull"],
        ),
        ("text as image", question(json!({"image": "text.png"})), &["line 2", "`text.png`", "is damaged"]),
        ("ribbon", question(json!({"image": "ribbon.png"})), &["line 2", "1005x5", "aspect ratio above 200"]),
        (
            "a URL",
            question(json!({"image": "https://example.com/a.png"})),
            &["line 2", "`https://example.com/a.png`", "nothing is fetched"],
        ),
        (
            "data that is no base64",
            question(json!({"image": "data:image/png,x"})),
            &["line 2", "not in base64"],
        ),
        (
            "a bomb",
            question(json!({"image": "bomb.png"})),
            &["line 2", "`bomb.png`", "20000x20000", "shrink it"],
        ),
        (
            "tools",
            question(json!({"tools": [{"name": "zoom"}]})),
            &["line 2", "column `tools`", "remove the column"],
        ),
        ("a video", question(json!({"video": "a.mp4"})), &["line 2", "column `video`", "frames"]),
        (
            "marks without images",
            turns(json!([human("<image> what?"), {"from": "gpt", "value": "x"}]), Value::Null),
            &["line 2", "1 times <image> for 0 images"],
        ),
        (
            "a mark in the reply",
            turns(json!([human("what?"), {"from": "gpt", "value": "<image>"}]), Value::Null),
            &["line 2", "<image> in a reply"],
        ),
        (
            "unknown speaker",
            turns(json!([{"from": "cat", "value": "x"}]), Value::Null),
            &["line 2", "`from`", "cat"],
        ),
        ("no turns", turns(json!([]), Value::Null), &["line 2", "`conversations` is empty"]),
        ("a box of no numbers", question(json!({"form": "sonnet"})), &["line 2", "column `form`", "sonnet"]),
    ];
    for (name, row, expected) in cases {
        let mut first = good.clone();
        first["id"] = json!("one");
        let first = if row.get("conversations").is_some() {
            turns(json!([human("a"), {"from": "gpt", "value": "b"}]), Value::Null)
        } else {
            first
        };
        let (folder, path) = folder(&[first, row]);
        fs::write(folder.path().join("damaged.png"), &png(40, 30)[..20]).unwrap();
        fs::write(folder.path().join("text.png"), "no picture").unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n";
        fs::write(folder.path().join("pointer.png"), pointer).unwrap();
        fs::write(folder.path().join("ribbon.png"), png(1005, 5)).unwrap();
        // The header is in the first bytes: the sides, and their checksum.
        let mut bomb = png(40, 30);
        bomb[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
        bomb[29..33].copy_from_slice(&0x6c12_d16e_u32.to_be_bytes());
        fs::write(folder.path().join("bomb.png"), bomb).unwrap();
        refused_file(name, &path, json!({}), expected);
    }
}

#[test]
fn chat_rows() {
    let cases: [(&str, Value, &[&str]); 6] = [
        ("no turns", json!([]), &["line 1", "`messages` is empty"]),
        ("no user", json!([{"role": "system", "content": "x"}]), &["line 1", "no turn of the user"]),
        ("unknown role", json!([{"role": "cat", "content": "x"}]), &["line 1", "column `role`", "cat"]),
        (
            "content is a number",
            json!([{"role": "user", "content": 1}]),
            &["line 1", "text or a list of parts"],
        ),
        (
            "unknown part",
            json!([{"role": "user", "content": [{"type": "video"}]}]),
            &["line 1", "text, image or image_url", "video"],
        ),
        (
            "an image part without an image",
            json!([{"role": "user", "content": [{"type": "image"}]}]),
            &["line 1", "no `image`"],
        ),
    ];
    for (name, messages, expected) in cases {
        refused(name, &[json!({"messages": messages})], json!({}), expected);
    }
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let digits = fs::read(fixture("digits/digits.parquet")).unwrap();
    let half = &digits[..digits.len() / 2];
    let cases: [(&str, &[u8], &[&str]); 14] = [
        (
            "broken.jsonl",
            b"{\"problem\": \"p\", \"solution\": \"s\", \"task\": \"math\"}\n\n{\"problem\": ",
            &["line 3", "is no JSON"],
        ),
        ("list.jsonl", b"[1]\n", &["line 1", "is no JSON object"]),
        ("foreign.jsonl", b"{\"a\": 1}\n", &["line 1", "no known row format", "`a`"]),
        ("torn.json", b"[{\"problem\": ", &["torn.json", "is no JSON"]),
        ("number.json", b"7", &["is neither a list of objects nor an object of them"]),
        ("mixed.json", b"{\"a\": {\"problem\": \"p\"}, \"b\": 1}", &["entry `b` is no object"]),
        ("empty.jsonl", b"", &["empty.jsonl", "is empty", "no rows"]),
        ("blank.jsonl", b"\n\n", &["is empty"]),
        ("half.parquet", half, &["half.parquet", "no readable Parquet file"]),
        ("text.parquet", b"text", &["no readable Parquet file"]),
        ("text.arrow", b"text", &["no readable Arrow file"]),
        ("rows.csv", b"a,b\n", &["rows.csv", "`.csv`", "`.parquet`, `.arrow`, `.jsonl`, `.json` or `.tsv`"]),
        (
            "ragged.tsv",
            b"index\tquestion\tanswer\n1\tWhat?\tx\n2\tWhat?\n",
            &["ragged.tsv", "line 3", "2 values for 3 columns"],
        ),
        (
            "rubbish.tsv",
            b"index\tquestion\tanswer\timage\n1\tWhat?\tx\t!!\n",
            &["rubbish.tsv", "line 2", "is no base64"],
        ),
    ];
    for (name, content, expected) in cases {
        refused_file(name, &file(name, content), json!({}), expected);
    }
    refused_file("absent", &folder.path().join("absent.jsonl"), json!({}), &["cannot read", "absent.jsonl"]);
}

/// Whole JSON files: a list, or an object by id.
#[test]
fn json_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.json");
    let row = json!({"problem": "1 + 1?", "solution": "2", "task": "math"});
    for (value, id) in [(json!([row]), "rows-0"), (json!({"q7": row}), "q7")] {
        fs::write(&path, value.to_string()).unwrap();
        let data = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap();
        assert_eq!((data.samples.len(), data.samples[0].id.as_str()), (1, id));
    }
}

/// A pipe keeps its reader waiting for ever.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_image() {
    let (folder, path) =
        folder(&[json!({"problem": "p", "solution": "s", "task": "math", "image": "pipe.png"})]);
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.png")).status().unwrap();
    assert!(made.success());
    refused_file("pipe", &path, json!({}), &["line 1", "pipe.png", "is no regular file"]);
    fs::remove_file(&path).unwrap();
    std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    refused_file("rows", &path, json!({}), &["rows.jsonl", "is no regular file"]);
}

#[test]
fn all_rows_with_missing_images_are_named_at_once() {
    let row = |image: &str| json!({"problem": "p", "solution": "s", "task": "math", "image": image});
    let rows: Vec<Value> =
        ["cat.png", "a.png", "b.png", "dog.png", "c.png", "cat.png", "d.png", "e.png", "f.png"]
            .map(row)
            .into();
    let expected = [
        "rows.jsonl",
        "6 images cannot be used, in lines 2-3, 5, 7-9",
        "line 2: image `a.png` cannot be read",
        "d.png",
    ];
    refused("missing", &rows, json!({}), &expected);
}

#[test]
fn a_damaged_image_in_a_table_names_its_row() {
    let data = scenes(3, json!({}), &[Form::Open]).unwrap();
    let mut samples = data.samples.clone();
    let mut broken = (*samples[2]).clone();
    for message in &mut broken.messages {
        for part in &mut message.content {
            if let reft_core::Part::Image(image) = part {
                image.source =
                    reft_core::ImageSource::Bytes(std::sync::Arc::from(&b"\x89PNG\r\n\x1a\nrubbish"[..]));
            }
        }
    }
    samples[2] = std::sync::Arc::new(broken);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.parquet");
    reft_data::write::samples(&path, &samples).unwrap();
    refused_file("damaged", &path, json!({}), &["broken.parquet", "row 2", "`scene 2`", "is damaged"]);
}

#[test]
fn splits_and_forms_that_leave_nothing() {
    let row = json!({"problem": "p", "solution": "s", "task": "vqa", "split": "train"});
    refused(
        "split",
        std::slice::from_ref(&row),
        json!({"split": "test"}),
        &["rows.jsonl", "is empty", "split `test`"],
    );
    refused(
        "no split column",
        &[json!({"problem": "p", "solution": "s"})],
        json!({"split": "x"}),
        &["line 1", "`split`"],
    );
    let (_folder, path) = folder(&[row]);
    let config = json!({"type": "file", "path": path});
    let error = load(config.clone(), &[Form::Binary]).unwrap_err().to_string();
    assert!(error.contains("no sample can be asked in the forms `binary`"), "{error}");
    let error = load(config, &[Form::Open, Form::Open]).unwrap_err().to_string();
    assert!(error.contains("names `open` twice"), "{error}");
}

#[test]
fn solutions_that_cannot_be_converted() {
    let row = json!({"problem": "Where?", "solution": "over there", "task": "detection"});
    let (_folder, path) = folder(&[row]);
    let error = load(json!({"type": "file", "path": path}), &[Form::Choice]).unwrap_err().to_string();
    assert!(error.contains("sample `rows-1`") && error.contains("holds no box"), "{error}");
}

#[test]
fn scene_settings() {
    let cases = [
        (
            json!({"split": "train"}),
            "no row of split `train`; its splits are {\"base\", \"rl\", \"test\", \"val\"}",
        ),
        (json!({"count": 0}), "`count` is 0"),
        (json!({"careful": 1.5}), "`careful`"),
        (json!({"transcription": -0.1}), "`transcription`"),
        (json!({"jitter": 99.0}), "`jitter`"),
        (json!({"tasks": []}), "no task is named"),
        (json!({"tasks": ["vqa"]}), "set `transcription`"),
    ];
    for (settings, expected) in cases {
        let error = chain(&scenes(5, settings, &[Form::Open]).unwrap_err());
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    }
    let error =
        scenes(5, json!({"glyphs": fixture("easy_vqa/test.parquet"), "split": "test"}), &[Form::Open]);
    let error = chain(&error.unwrap_err());
    assert!(error.contains("row 0") && error.contains("`label`"), "{error}");
}
