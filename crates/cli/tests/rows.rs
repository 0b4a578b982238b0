//! The rows that docs/DATA.md shows for the commands, given to these commands.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The row that the document shows below the words that name a command.
fn documented(words: &str) -> String {
    let document = fs::read_to_string(root().join("docs/DATA.md")).unwrap();
    let section = document.split_once("### Rows of the commands").unwrap().1;
    let below = section.split_once(words).unwrap_or_else(|| panic!("no {words}")).1;
    let row = below.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    let _: Value = serde_json::from_str(row).unwrap();
    format!("{row}\n")
}

/// Runs a command that must succeed.
fn reft(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reft")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn documented_rows_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let input = |name: &str, words: &str| {
        fs::write(dir.path().join(name), documented(words)).unwrap();
        path(name)
    };
    let first = |name: &str| -> Value {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    };
    let output = path("out.jsonl");
    let model = ["--model", "fixtures/pico-vlm", "--threads", "1"];

    let chats = input("chats.jsonl", "`reft generate --input`");
    reft(
        &[&["generate", "--input", &chats, "--output", &output, "--max-new-tokens", "8"][..], &model]
            .concat(),
    );
    let row = first("out.jsonl");
    for key in ["text", "token_ids", "logprobs", "finish_reason"] {
        assert!(!row["completions"][0][key].is_null(), "{key}: {row}");
    }

    let answers = input("answers.jsonl", "`reft logprobs --input`");
    reft(&[&["logprobs", "--input", &answers, "--output", &output][..], &model].concat());
    let row = first("out.jsonl");
    assert_eq!(
        row["token_ids"].as_array().unwrap().len(),
        row["logprobs"].as_array().unwrap().len(),
        "{row}"
    );

    let scored = input("scored.jsonl", "`reft score --input`");
    reft(&["score", "--reward", "math_equal", "--input", &scored, "--output", &output]);
    assert_eq!(first("out.jsonl")["score"], 1.0);

    let predictions = input("predictions.jsonl", "`reft grade --predictions`");
    let data = path("data.jsonl");
    fs::write(&data, "{\"id\": \"q1\", \"problem\": \"1+1?\", \"solution\": \"2\", \"task\": \"math\"}\n")
        .unwrap();
    let graded = reft(&["grade", "--benchmark", "generic", "--data", &data, "--predictions", &predictions]);
    assert!(graded.contains("100.0%"), "{graded}");

    let judged = input("judged.jsonl", "`reft reject`");
    reft(&["reject", &judged, "--best-of", "2", "--threshold", "60", "--output", &output]);
    assert_eq!(first("out.jsonl")["messages"][1]["role"], "assistant");
}
