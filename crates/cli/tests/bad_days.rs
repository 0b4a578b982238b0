//! Bad days, through the binary: files that are damaged or change, work that is stopped, rows that move.

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

fn reft(args: &[&str]) -> Output {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(args).current_dir(root()).env("GOMP_SPINCOUNT", "5000").output().unwrap()
}

/// What a command says, on both streams.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}

fn works(args: &[&str]) -> String {
    let output = reft(args);
    let said = said(&output);
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

fn fails(args: &[&str]) -> String {
    let output = reft(args);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    said
}

/// Digits of the fixture as files, questions about them, and a recipe that asks these.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let place = Self { dir };
        let rows = place.path("rows.jsonl");
        works(&[
            "data",
            "scenes",
            "--glyphs",
            "fixtures/digits/digits.parquet",
            "--split",
            "rl",
            "--count",
            "8",
            "--output",
            &rows,
        ]);
        fs::write(place.path("recipe.toml"), RECIPE.replace("DIR", &place.path(""))).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn images(&self) -> Vec<PathBuf> {
        let mut images: Vec<PathBuf> =
            fs::read_dir(self.path("rows-images")).unwrap().map(|entry| entry.unwrap().path()).collect();
        images.sort();
        images
    }

    fn train(&self, more: &[&str]) -> Output {
        let (recipe, runs) = (self.path("recipe.toml"), self.path("runs"));
        reft(&[&["train", &recipe, "--runs", &runs], more].concat())
    }
}

const RECIPE: &str = r#"
[run]
name = "run"
threads = 1
checkpoint_every = 1
[model]
path = "fixtures/pico-vlm"
[data.rows]
type = "file"
path = "DIR/rows.jsonl"
[[phase]]
kind = "grpo"
name = "open"
data = "rows"
steps = 2
prompts_per_step = 2
sampling = { group_size = 2, max_new_tokens = 16 }
preflight = { enabled = false }
"#;

/// Half a picture is found before the first step, by name; its sample can be left out; the folder is used again.
#[test]
fn half_a_picture_is_found_before_the_first_step() {
    let place = Place::new();
    let image = place.images().remove(0);
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() / 2]).unwrap();
    let name = image.file_name().unwrap().to_string_lossy().into_owned();

    let output = place.train(&[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&name) && text.contains("on_bad_image = \"skip\""), "{text}");

    let rows = place.path("rows.jsonl");
    let text = fails(&["data", "inspect", &rows, "--decode"]);
    assert!(text.contains(&name), "{text}");

    let output = place.train(&["--set", "data.rows.on_bad_image=skip"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("samples are left out") && text.contains(&name), "{text}");
    let left_out = fs::read_to_string(place.path("runs/run/inputs/left_out.json")).unwrap();
    assert!(left_out.starts_with("{\"rows\":["), "{left_out}");
}

/// Images and recipe are a part of what a run is.
#[test]
fn what_changes_between_attempts_is_noticed() {
    let place = Place::new();
    assert!(place.train(&["--set", "grpo.steps=1"]).status.success());
    let run = place.path("runs/run");
    // As if it had been stopped before its last step.
    let record = fs::read_to_string(place.path("runs/run/run.json")).unwrap();
    fs::write(place.path("runs/run/run.json"), record.replace("\"finished\": true", "\"finished\": false"))
        .unwrap();
    let config = place.path("runs/run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("steps = 1", "steps = 2", 1)).unwrap();
    let text = works(&["train", "--resume", &run]);
    assert!(text.contains("settings were changed") && text.contains("phase.open.steps: 1 -> 2"), "{text}");

    let image = place.images().remove(0);
    let other = fs::read(place.images().remove(1)).unwrap();
    fs::write(&image, other).unwrap();
    let text = fails(&["train", "--resume", &run]);
    assert!(text.contains("images of `rows` have other bytes") && text.contains("--accept-inputs"), "{text}");
    works(&["train", "--resume", &run, "--accept-inputs"]);
    let events = fs::read_to_string(format!("{run}/events.jsonl")).unwrap();
    assert!(
        events.lines().any(
            |line| line.contains("inputs_accepted") && line.contains("images of `rows` have other bytes")
        ),
        "{events}"
    );
    works(&["train", "--resume", &run]);
    let events = fs::read_to_string(place.path("runs/run/events.jsonl")).unwrap();
    assert!(events.contains("inputs_accepted") && events.contains("config_edited"), "{events}");
}

/// Damaged files cost themselves and are named; a finished run stays finished.
#[test]
fn damaged_files_of_a_run_are_named() {
    let place = Place::new();
    assert!(place.train(&[]).status.success());
    let run = place.path("runs/run");
    let file = place.path("runs/run/completions/open/step_000001.parquet");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let metrics = place.path("runs/run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, &text[..text.len() - 20]).unwrap();
    fs::write(&metrics, fs::read_to_string(&metrics).unwrap() + "\n").unwrap();

    let text = works(&["inspect", &run]);
    assert!(text.contains("left out:") && text.contains("metrics.jsonl"), "{text}");
    let own = place.path("runs/run/report.html");
    let written_at_the_end = fs::read(&own).unwrap();
    let elsewhere = place.path("report.html");
    let text = works(&["report", &run, "--output", &elsewhere]);
    assert!(text.contains("step_000001.parquet"), "{text}");
    let html = fs::read_to_string(&elsewhere).unwrap();
    assert!(html.contains("left out:") && html.ends_with("</html>\n"), "{html}");
    assert!(fs::read(&own).unwrap() == written_at_the_end, "it was asked for elsewhere");
}

/// What `generate` writes elsewhere is read by `score`, `logprobs` and `data inspect`: paths stay relative to their file.
#[test]
fn rows_move_from_command_to_command() {
    let place = Place::new();
    let chats: Vec<String> = place
        .images()
        .iter()
        .take(3)
        .enumerate()
        .map(|(i, image)| {
            let name = format!("rows-images/{}", image.file_name().unwrap().to_string_lossy());
            let content = json!([{"type": "image", "image": name}, {"type": "text", "text": "Which?"}]);
            json!({"id": i, "messages": [{"role": "user", "content": content}], "solution": "7", "task": "math"}).to_string()
        })
        .collect();
    let input = place.path("chats.jsonl");
    fs::write(&input, chats.join("\n")).unwrap();
    fs::create_dir_all(place.path("far/away")).unwrap();
    let output = place.path("far/away/answers.jsonl");
    let model = ["--model", "fixtures/pico-vlm", "--device", "cpu", "--input"];
    works(&[&["generate"], &model[..], &[&input, "--output", &output, "--max-new-tokens", "8"]].concat());
    let text = fs::read_to_string(&output).unwrap();
    assert!(text.contains("../../rows-images/"), "{text}");
    assert!(!Path::new(&format!("{output}.kept")).exists());
    assert!(works(&["data", "inspect", &output]).contains("samples          3"));

    let scored = place.path("scored.jsonl");
    works(&["score", "--reward", "format", "--input", &output, "--output", &scored]);
    let row: Value =
        serde_json::from_str(fs::read_to_string(&scored).unwrap().lines().next().unwrap()).unwrap();
    assert!(row["completions"][0]["score"].is_number(), "{row}");
    assert!(row["messages"][0]["content"][0]["image"].as_str().unwrap().starts_with("rows-images/"), "{row}");

    fs::write(&input, "{\"completion\": \"x\"}\n").unwrap();
    assert!(
        fails(&["score", "--reward", "math_equal", "--input", &input, "--output", &scored])
            .contains("nothing was scored")
    );
}

/// Answers of a call that was stopped are taken over by the same call, and by no other.
#[test]
fn generate_goes_on_where_it_was_stopped() {
    let place = Place::new();
    let chats = (0..4)
        .map(|i| json!({"messages": [{"role": "user", "content": format!("{i} + 1?")}]}).to_string() + "\n");
    let (input, output) = (place.path("chats.jsonl"), place.path("answers.jsonl"));
    fs::write(&input, chats.collect::<String>()).unwrap();
    let generate = |more: &[&str]| {
        let base = [
            "generate",
            "--model",
            "fixtures/pico-vlm",
            "--device",
            "cpu",
            "--input",
            &input,
            "--output",
            &output,
        ];
        works(
            &[
                &base[..],
                &["--max-new-tokens", "8", "--batch", "1", "--samples", "2", "--temperature", "1"],
                more,
            ]
            .concat(),
        )
    };
    generate(&[]);
    let whole = fs::read_to_string(&output).unwrap();

    // What a stopped call leaves: its question, and some answers, the last one torn.
    fs::remove_file(&output).unwrap();
    fs::create_dir(&output).unwrap();
    let refused = reft(&[
        "generate",
        "--model",
        "fixtures/pico-vlm",
        "--device",
        "cpu",
        "--input",
        &input,
        "--output",
        &output,
        "--max-new-tokens",
        "8",
        "--batch",
        "1",
        "--samples",
        "2",
        "--temperature",
        "1",
    ]);
    assert!(!refused.status.success());
    fs::remove_dir(&output).unwrap();
    let kept = format!("{output}.kept");
    let lines = fs::read_to_string(&kept).unwrap();
    assert_eq!(lines.lines().count(), 5);
    let two = lines.lines().take(3).collect::<Vec<_>>().join("\n") + "\n";
    let marked = two.replacen("\"text\":\"", "\"text\":\"KEPT ", 1);
    fs::write(&kept, marked + "{\"sample\": \"chats-4\", \"comple").unwrap();
    generate(&[]);
    let again = fs::read_to_string(&output).unwrap();
    assert_eq!(again.matches("KEPT ").count(), 1);
    assert_eq!(again.replacen("KEPT ", "", 1), whole);
}
