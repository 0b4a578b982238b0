//! The binary as a user meets it: exit codes, what goes to stdout, what goes to stderr, files in and out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Runs `reft` in the checkout.
fn reft(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reft")).args(args).current_dir(root()).output().unwrap()
}

/// Standard output of a command that must succeed.
fn stdout(args: &[&str]) -> String {
    let output = reft(args);
    assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// Exit code and standard error of a command that must fail.
fn failure(args: &[&str]) -> (i32, String) {
    let output = reft(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn file(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn rows(path: &str) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const RECIPE: &str = "model.path = 'fixtures'\ndata.d = { type = 'file', path = 'README.md' }\n\
                      [[phase]]\nkind = 'grpo'\nname = 'open'\ndata = 'd'\nsteps = 3\n";

#[test]
fn help_teaches_and_bad_usage_is_2() {
    assert!(stdout(&["--help"]).contains("Examples:"));
    for command in [
        "train", "generate", "logprobs", "eval", "merge", "grade", "score", "reject", "inspect", "report",
        "init",
    ] {
        assert!(stdout(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    for args in [&["train"][..], &["fly"], &["score", "--reward", "best"], &["train", "a", "--resume", "b"]] {
        assert_eq!(failure(args).0, 2, "{args:?}");
    }
    assert!(failure(&["score", "--reward", "best"]).1.contains("choose one of paper"));
}

#[test]
fn all_problems_of_a_recipe_are_named() {
    let dir = TempDir::new().unwrap();
    let good = file(&dir, "good.toml", RECIPE);
    assert_eq!(stdout(&["config", "check", &good]), "ok: 1 phases (open)\n");

    let bad = file(&dir, "bad.toml", &RECIPE.replace("steps = 3", "steps = 0\nlr = -1"));
    let (code, stderr) = failure(&["config", "check", &bad]);
    assert_eq!(code, 2);
    for expected in ["2 problems", "`phase.open.steps`", "`phase.open.lr`", "bad.toml)"] {
        assert!(stderr.contains(expected), "want {expected}\n{stderr}");
    }
    let output = reft(&["config", "check", &bad, "--json"]);
    let problems: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(problems["problems"].as_array().unwrap().len(), 2);

    let (code, stderr) = failure(&["train", &good, "--set", "model.path=nowhere"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("`model.path`: `nowhere` does not exist"), "{stderr}");
}

#[test]
fn a_first_recipe_is_written_and_checks() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let of = |data: &str, output: &str, more: &[&str]| {
        let args = ["init", "--model", "fixtures/pico-vlm", "--data", data, "-o", output];
        [&args[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |args: &[String]| stdout(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let fails = |args: &[String]| failure(&args.iter().map(String::as_str).collect::<Vec<_>>()).1;

    let recipe = path("math.toml");
    let geometry = "fixtures/benchmarks/geometry.jsonl";
    let told = run(&of(geometry, &recipe, &["--task", "math", "--test", geometry, "--name", "x-1"]));
    assert!(told.contains("10 rows: 10 math") && told.contains("reft train"), "{told}");
    let phases = "base, binary, choice, open, kept, self-improvement, curr-reft";
    assert_eq!(stdout(&["config", "check", &recipe]), format!("ok: 7 phases ({phases})\n"));
    assert!(
        fails(&of(geometry, &recipe, &["--task", "math"])).contains("name another file"),
        "must not overwrite"
    );

    // Answers to imitate and no solutions.
    let chats =
        json!({"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]});
    let chats = file(&dir, "chats.jsonl", &format!("{chats}\n"));
    let recipe = path("sft.toml");
    run(&of(&chats, &recipe, &[]));
    assert_eq!(stdout(&["config", "check", &recipe]), "ok: 1 phases (sft)\n");

    assert!(fails(&of(geometry, &path("a.toml"), &[])).contains("names no task"));
    assert!(
        fails(&of(geometry, &path("a.toml"), &["--task", "sums"]))
            .contains("give one of detection, classify")
    );
    assert!(!dir.path().join("a.toml").exists());
}

#[test]
fn recipes_are_shown_as_they_run() {
    let dir = TempDir::new().unwrap();
    let recipe = file(&dir, "recipe.toml", RECIPE);
    let shown = stdout(&["config", "show", &recipe, "--set", "grpo.lr=3e-5"]);
    assert!(shown.contains("lr = 0.00003") || shown.contains("lr = 3e-5"), "{shown}");
    let again = file(&dir, "again.toml", &shown);
    assert_eq!(stdout(&["config", "show", &again]), shown);
    assert_eq!(stdout(&["train", &again, "--dry-run"]), shown);
    assert_eq!(json_of(&["config", "show", &recipe, "--json"])["phase"][0]["steps"], 3);
    assert!(json_of(&["config", "schema"])["properties"]["grpo"].is_object());
}

#[test]
fn stored_completions_are_scored() {
    let dir = TempDir::new().unwrap();
    let input = file(
        &dir,
        "in.jsonl",
        "{\"completion\": \"<answer>1/2</answer>\", \"solution\": \"0.5\"}\n{\"completion\": \"no tags\", \"solution\": \"1\"}\n{}\n",
    );
    let output = dir.path().join("out.jsonl").to_string_lossy().into_owned();
    let args = ["score", "--reward", "math_equal", "--input", &input, "--output", &output];
    assert!(stdout(&args).starts_with("2 of 3 rows scored, mean 0.5000\n  line 3: "));
    let scores: Vec<Value> = rows(&output).into_iter().map(|mut row| row["score"].take()).collect();
    assert_eq!(scores, [json!(1.0), json!(0.0), Value::Null]);

    let wrong = dir.path().join("out.csv").to_string_lossy().into_owned();
    let (code, stderr) = failure(&["score", "--reward", "paper", "--input", &input, "--output", &wrong]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("end the name in `.jsonl` or `.parquet`"), "{stderr}");
    let (code, stderr) =
        failure(&["score", "--reward", "paper", "--input", "nowhere.jsonl", "--output", &output]);
    assert_eq!(code, 1);
    assert!(stderr.contains("nowhere.jsonl"), "{stderr}");
}

#[test]
fn the_best_of_stored_completions_is_kept() {
    let dir = TempDir::new().unwrap();
    let row = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],
        "completions": [{"text": "5"}, {"text": "<think>Two and two are four.</think><answer>4</answer>"}],
        "solution": "4",
    });
    let input = file(&dir, "in.jsonl", &row.to_string());
    let output = dir.path().join("sft.jsonl").to_string_lossy().into_owned();
    let args = ["reject", &input, "--best-of", "2", "--threshold", "60", "--output", &output, "--json"];
    assert_eq!(json_of(&args)["total"]["kept"], 1);
    assert_eq!(rows(&output)[0]["messages"][1]["role"], "assistant");
}

#[test]
fn scenes_become_yes_no_questions() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (scenes, binary) = (path("scenes.parquet"), path("binary.jsonl"));
    stdout(&[
        "data",
        "scenes",
        "--glyphs",
        "fixtures/digits/digits.parquet",
        "--split",
        "test",
        "--count",
        "12",
        "--output",
        &scenes,
    ]);
    let report = json_of(&["data", "inspect", &scenes, "--json"]);
    assert_eq!((&report["samples"], &report["forms"]["open"]), (&json!(12), &json!(12)));
    let table = stdout(&["data", "inspect", &scenes, "--against", &scenes, "--max-tokens", "3"]);
    for expected in [
        "by task:",
        "image tokens     4 to 4, median 4",
        "above 3          12",
        ": 12 questions with their images",
    ] {
        assert!(table.contains(expected), "want {expected}\n{table}");
    }
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pico-vlm");
    let table = stdout(&["data", "inspect", &scenes, "--model", &model.to_string_lossy()]);
    assert!(table.contains("prompt tokens    ") && !table.contains("above"), "{table}");

    stdout(&["data", "forms", "--input", &scenes, "--form", "binary", "--output", &binary]);
    let rows = rows(&binary);
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().all(|row| row["solution"] == "yes" || row["solution"] == "no"), "{rows:?}");
}

#[test]
fn predictions_are_graded() {
    let dir = TempDir::new().unwrap();
    let data = file(
        &dir,
        "data.jsonl",
        "{\"id\": \"a\", \"problem\": \"1+1?\", \"solution\": \"2\", \"task\": \"math\"}\n",
    );
    let predictions = file(&dir, "p.jsonl", "{\"id\": \"a\", \"completion\": \"<answer>2</answer>\"}\n");
    let args = ["grade", "--benchmark", "generic", "--data", &data, "--predictions", &predictions];
    assert!(stdout(&args).contains("100.0%"));
    let none = file(&dir, "none.jsonl", "{\"id\": \"b\", \"completion\": \"2\"}\n");
    assert_eq!(failure(&["grade", "--benchmark", "generic", "--data", &data, "--predictions", &none]).0, 1);
}

#[test]
fn what_is_no_run_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_string_lossy();
    for args in [["inspect", &path], ["report", &path]] {
        let (code, stderr) = failure(&args);
        assert_eq!(code, 1);
        assert!(stderr.contains("run.json"), "{stderr}");
    }
    let (code, stderr) = failure(&["train", "--resume", &path]);
    assert_eq!(code, 1, "{stderr}");
}

#[test]
fn shells_complete_and_man_pages_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("compare") && script.contains("accept-inputs"), "{shell}: {script}");
    }
    let dir = TempDir::new().unwrap();
    let pages = dir.path().join("man");
    stdout(&["man", pages.to_str().unwrap()]);
    let page = fs::read_to_string(pages.join("reft-train.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("\\-\\-resume"), "{page}");
    assert!(pages.join("reft-config-check.1").exists() && pages.join("reft.1").exists());
}
