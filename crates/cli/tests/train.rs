//! Real runs of the shipped model through the binary: every kind of phase, killed and resumed, metrics documented.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// `reft train` on the smoke recipe with a step less here and there.
fn train(runs: &Path, name: &str) -> Command {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(["train", "configs/smoke.toml", "--name", name, "--runs"]).arg(runs).current_dir(root());
    reft.args(["--set", "grpo.steps=3", "--set", "run.threads=1"]);
    reft.env("GOMP_SPINCOUNT", "5000").stderr(Stdio::piped());
    reft
}

fn resume(run: &Path) -> Command {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(["train", "--resume"]).arg(run).current_dir(root());
    reft.env("GOMP_SPINCOUNT", "5000").stderr(Stdio::piped());
    reft
}

fn finish(mut reft: Command) {
    let output = reft.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the run has started the phase and then some, and kills it with SIGKILL.
fn kill_in(mut child: Child, run: &Path, phase: &str, after: Duration) {
    wait_for(&mut child, run, phase);
    thread::sleep(after);
    // The process may be done already; then there is nothing to kill and the comparison still holds.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Waits until the run has started the phase.
fn wait_for(child: &mut Child, run: &Path, phase: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let started = format!("\"phase\":\"{phase}\"");
    loop {
        let events = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
        if events.contains(&started) || child.try_wait().unwrap().is_some() || Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A terminal that closes and a scheduler that takes the machine back are as good as Ctrl-C: the step is saved.
#[test]
fn signals_that_end_a_program_are_heard() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    let mut child = train(dir.path(), "run").spawn().unwrap();
    for (signal, phase) in [("HUP", "binary"), ("TERM", "choice"), ("INT", "open")] {
        wait_for(&mut child, &run, phase);
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{signal}");
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{signal}: {said}");
        assert!(
            said.contains("what is done is kept") && said.contains("reft train --resume"),
            "{signal}: {said}"
        );
        child = resume(&run).spawn().unwrap();
    }
    assert!(child.wait_with_output().unwrap().status.success());
    complete(&run);
}

#[test]
fn a_run_killed_in_every_phase_ends_as_the_uninterrupted_one() {
    let dir = TempDir::new().unwrap();
    let output = train(dir.path(), "whole").stdout(Stdio::piped()).output().unwrap();
    let whole = dir.path().join("whole");

    let killed = dir.path().join("killed");
    let kills = [("base", 40), ("binary", 150), ("choice", 90), ("open", 250), ("self-improvement", 60)];
    let mut child = train(dir.path(), "killed").spawn().unwrap();
    for (phase, milliseconds) in kills {
        kill_in(child, &killed, phase, Duration::from_millis(milliseconds));
        child = resume(&killed).spawn().unwrap();
    }
    kill_in(child, &killed, "sft", Duration::from_millis(120));
    finish(resume(&killed));

    for file in ["metrics.jsonl", "final/model.safetensors"] {
        assert!(
            fs::read(whole.join(file)).unwrap() == fs::read(killed.join(file)).unwrap(),
            "{file} differs"
        );
    }
    let report = "eval/curr-reft/id/report.json";
    assert_eq!(fs::read(whole.join(report)).unwrap(), fs::read(killed.join(report)).unwrap());
    documented(&metrics(&whole));
    let names = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    assert!(names.contains("\"grpo/kl\"") && names.contains("\"sft/loss\""));
    complete(&whole);

    // What a person sees: the time of the whole run in every line, and where the report is.
    let [seen, said] = [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).unwrap());
    let last = seen.lines().rfind(|line| line.starts_with("  curr-reft")).unwrap();
    assert!(last.contains("  run ") && last.contains(", 0s left"), "{seen}");
    assert!(seen.contains("over "), "phases to come of a kind that was not seen yet\n{seen}");
    assert!(said.contains("base -> curr-reft  id "), "{said}");
    let compared = reft(&["compare", whole.to_str().unwrap(), killed.to_str().unwrap()]);
    assert!(compared.contains("+0.0    1.000  0, 0"), "the same answers\n{compared}");
    assert!(compared.contains("run.name: \"whole\" -> \"killed\""), "{compared}");
    let shown = reft(&["inspect", whole.to_str().unwrap(), "--phase", "open", "--step", "2"]);
    assert!(shown.starts_with("open step 2: ") && shown.contains("right: "), "{shown}");
    let picture = shown.lines().find_map(|line| line.strip_prefix("  picture: ")).unwrap();
    assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG"), "no terminal that draws\n{shown}");
    assert!(shown.contains("accuracy ") && shown.contains("  adv ") && shown.contains(" tokens"), "{shown}");
    let mut compare = Command::new(env!("CARGO_BIN_EXE_reft"));
    let output = compare.arg("compare").args([&whole, &whole]).args(["--phase", "nine"]).output().unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && refused.contains("no evaluation phase `nine`"), "{refused}");
    assert!(said.contains("report.html") && whole.join("report.html").exists(), "{said}");
}

/// Every metric of the run is in docs/METRICS.md, as it stands or with a placeholder.
fn documented(rows: &[Value]) {
    let docs = fs::read_to_string(root().join("docs/METRICS.md")).unwrap();
    let known: Vec<&str> = docs.split('`').skip(1).step_by(2).filter(|name| name.contains('/')).collect();
    let is_known = |name: &str| {
        known.iter().any(|pattern| {
            let parts: Vec<&str> = pattern.split('/').collect();
            let names: Vec<&str> = name.split('/').collect();
            parts.len() == names.len() && parts.iter().zip(&names).all(|(p, n)| p == n || p.starts_with('<'))
        })
    };
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.as_object().unwrap().keys()).collect();
    let unknown: Vec<&&String> = names.iter().filter(|name| name.contains('/') && !is_known(name)).collect();
    assert!(unknown.is_empty(), "not in docs/METRICS.md: {unknown:?}");
}

/// What a run leaves, and that the leftovers of one command feed the next.
fn complete(run: &Path) {
    let model = run.join("final");
    for file in ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"] {
        assert!(model.join(file).exists(), "final/{file} is missing");
    }
    // The KL to the reference is 0 at the first step of each stage, up to rounding, and the ratio 1.
    for row in metrics(run).iter().filter(|row| row["step"] == 1 && row.get("grpo/kl").is_some()) {
        assert!(row["grpo/kl"].as_f64().unwrap().abs() < 1e-6, "{row}");
        assert!((row["grpo/ratio_mean"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{row}");
        // Rollout and trainer run the same layers on the same weights.
        assert!(row["grpo/logprob_diff_max"].as_f64().unwrap() < 1e-3, "{row}");
    }

    let chats = run.join("chats.jsonl");
    fs::write(
        &chats,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"completion\":\"<think>\"}\n",
    )
    .unwrap();
    let output = run.join("answers.jsonl");
    let mut generate = Command::new(env!("CARGO_BIN_EXE_reft"));
    generate.args(["generate", "--samples", "2", "--temperature", "1", "--max-new-tokens", "8", "--model"]);
    finish({
        generate.arg(&model).arg("--input").arg(&chats).arg("--output").arg(&output);
        generate
    });
    let row: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!(row["completions"].as_array().unwrap().len(), 2);
    let first = &row["completions"][0];
    assert_eq!(first["token_ids"].as_array().unwrap().len(), first["logprobs"].as_array().unwrap().len());

    let mut logprobs = Command::new(env!("CARGO_BIN_EXE_reft"));
    finish({
        logprobs
            .arg("logprobs")
            .arg("--model")
            .arg(&model)
            .arg("--input")
            .arg(&chats)
            .arg("--output")
            .arg(&output);
        logprobs
    });
    let row: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!(row["token_ids"].as_array().unwrap().len(), row["logprobs"].as_array().unwrap().len());
    assert!(row["logprobs"][0].as_f64().unwrap() < 0.0);
}

/// One GRPO and one SFT phase of an adapter with dropout on every linear layer.
const LORA: &str = r#"
    run = { name = "lora", threads = 1, checkpoint_every = 1 }

    [model]
    path = "fixtures/pico-vlm"
    device = "cpu"
    lora = { rank = 4, alpha = 16, dropout = 0.1, targets = "all-linear", merge = true }

    [prompt]
    common = "think, then answer."
    open_detection = "as a box."

    [data.train]
    type = "scenes"
    glyphs = "fixtures/digits/digits.parquet"
    split = "rl"
    count = 48
    seed = 10

    [[phase]]
    kind = "grpo"
    name = "open"
    data = "train"
    steps = 3
    prompts_per_step = 4
    lr = 1e-3
    sampling = { group_size = 4, max_new_tokens = 32 }

    [[phase]]
    kind = "sft"
    name = "polish"
    data = ["train"]
    steps = 3
    batch_size = 4
    lr = 1e-3
"#;

#[test]
fn an_adapter_is_trained_resumed_and_merged() {
    let dir = TempDir::new().unwrap();
    let recipe = dir.path().join("lora.toml");
    fs::write(&recipe, LORA).unwrap();
    let train = |name: &str| {
        let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
        reft.arg("train").arg(&recipe).args(["--name", name, "--runs"]).arg(dir.path()).current_dir(root());
        reft.env("GOMP_SPINCOUNT", "5000").stderr(Stdio::piped());
        reft
    };
    finish(train("whole"));
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    kill_in(train("killed").spawn().unwrap(), &killed, "open", Duration::from_millis(400));
    kill_in(resume(&killed).spawn().unwrap(), &killed, "polish", Duration::from_millis(150));
    finish(resume(&killed));
    for file in ["metrics.jsonl", "final/adapter_model.safetensors", "final/merged/model.safetensors"] {
        assert!(
            fs::read(whole.join(file)).unwrap() == fs::read(killed.join(file)).unwrap(),
            "{file} differs"
        );
    }

    // Neither checkpoints nor the final folder hold the weights again, and the reference of the first phase is the base.
    let size = |path: PathBuf| fs::metadata(path).unwrap().len();
    let base = size(root().join("fixtures/pico-vlm/model.safetensors"));
    let last = fs::read_to_string(whole.join("checkpoints/LATEST")).unwrap();
    let policy = whole.join("checkpoints").join(last.trim()).join("policy");
    assert!(size(policy.join("adapter_model.safetensors")) < base / 2);
    assert!(!policy.join("model.safetensors").exists() && !whole.join("final/model.safetensors").exists());
    let first = &metrics(&whole)[0];
    assert!(first["grpo/kl"].as_f64().unwrap().abs() < 1e-2, "{first}");

    // An adapter is described by its base, wherever the base is, and by its own rank.
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_reft"));
    doctor.args(["doctor", "--json", "--model"]).arg(whole.join("final")).current_dir(root());
    let found: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    assert_eq!((&found["family"], &found["problem"]), (&"qwen2_5_vl".into(), &Value::Null), "{found}");

    // The adapter alone, the adapter on its base, the run's merged weights and those of `reft merge` answer alike.
    let merged = dir.path().join("merged");
    let mut merge = Command::new(env!("CARGO_BIN_EXE_reft"));
    merge.args(["merge", "--dtype", "fp32", "--model", "fixtures/pico-vlm"]).current_dir(root());
    finish({
        merge.arg("--adapter").arg(whole.join("final")).arg("--output").arg(&merged);
        merge
    });
    let same = |file: &str| {
        fs::read(merged.join(file)).unwrap() == fs::read(whole.join("final/merged").join(file)).unwrap()
    };
    assert!(same("model.safetensors") && same("tokenizer.json"));
    let chats = dir.path().join("chats.jsonl");
    fs::write(&chats, "{\"messages\":[{\"role\":\"user\",\"content\":\"think, then answer.\"}]}\n").unwrap();
    let answer = |model: &Path, adapter: Option<&Path>| {
        let output = dir.path().join("answer.jsonl");
        let mut generate = Command::new(env!("CARGO_BIN_EXE_reft"));
        generate.args(["generate", "--max-new-tokens", "12", "--model"]).arg(model).current_dir(root());
        generate.args(adapter.iter().flat_map(|dir| [Path::new("--adapter"), dir]));
        finish({
            generate.arg("--input").arg(&chats).arg("--output").arg(&output);
            generate
        });
        let row: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
        let sum: f64 = row["completions"][0]["logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|logprob| logprob.as_f64().unwrap())
            .sum();
        (row["completions"][0]["token_ids"].clone(), sum)
    };
    let plain = Path::new("fixtures/pico-vlm");
    let (tokens, sum) = answer(&merged, None);
    for (other, other_sum) in [answer(&whole.join("final"), None), answer(plain, Some(&whole.join("final")))]
    {
        assert!(other == tokens && (sum - other_sum).abs() < 1e-3, "{sum} {other_sum}");
    }
    assert!((answer(plain, None).1 - sum).abs() > 1e-3, "the adapter has learned nothing");
}

/// Scenes and rows of text.
const MIXED: &str = r#"
[run]
name = "mixed"
threads = 1
[model]
path = "fixtures/pico-vlm"
[data.scenes]
type = "scenes"
glyphs = "fixtures/digits/digits.parquet"
split = "rl"
count = 24
[data.sums]
type = "file"
path = "DIR/sums.jsonl"
task = "math"
max_prompt_tokens = 300
[data.mix]
type = "mixture"
sources = [{ data = "scenes", weight = 3.0 }, { data = "sums", weight = 1.0 }]
[[phase]]
kind = "eval"
name = "before"
data = ["sums"]
sampling = { group_size = 3, temperature = 1.0, max_new_tokens = 8 }
[[phase]]
kind = "grpo"
name = "open"
data = "mix"
steps = 2
sampling = { group_size = 2, max_new_tokens = 24 }
"#;

fn reft(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reft")).args(args).current_dir(root()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {stderr}");
    stderr + &String::from_utf8_lossy(&output.stdout)
}

/// Rows of text alone beside scenes, in the shares of a mixture; what a run says of its data; pass@K before training.
#[test]
fn a_mixture_with_rows_of_text_trains() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let sum = |i: u32| {
        format!("{{\"id\": \"s{i}\", \"problem\": \"What is {i} + 1?\", \"solution\": {}}}\n", i + 1)
    };
    let long = format!("{{\"id\": \"long\", \"problem\": \"{}\", \"solution\": 1}}\n", "1 + ".repeat(400));
    fs::write(path("sums.jsonl"), (0..6).map(sum).collect::<String>() + &long).unwrap();
    fs::write(path("recipe.toml"), MIXED.replace("DIR", &dir.path().to_string_lossy())).unwrap();
    let said = reft(&["train", &path("recipe.toml"), "--runs", &path("runs")]);
    for expected in [
        "data set `mix`: 1 of its prompts (open) are longer than 300 tokens and left out: sums/long",
        "data set `sums`: 7 of 7 questions, images included, are in `mix` as well",
        "s0 = sums/s0",
    ] {
        assert!(said.contains(expected), "want {expected}\n{said}");
    }

    let run = dir.path().join("runs/mixed");
    let rows = metrics(&run);
    documented(&rows);
    let last = rows.last().unwrap();
    // A quarter of 16 questions are from the 6 sums that are short enough.
    assert_eq!(
        (&last["curriculum/epoch/sums"], &last["curriculum/epoch/scenes"]),
        (&(4.0 / 6.0).into(), &0.5.into())
    );
    assert!(last["grpo/loss"].as_f64().unwrap().is_finite(), "{last}");
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let data: Vec<Value> = events.filter(|event| event["event"] == "data").collect();
    assert_eq!(data.len(), 2);
    let mix = &data[0];
    assert_eq!((&mix["data"], &mix["samples"], &mix["text_only"]), (&"mix".into(), &31.into(), &7.into()));
    assert_eq!((&mix["prompts"][0]["of"], &mix["prompts"][0]["limit"]), (&"prompts".into(), &300.into()));

    let predictions = run.join("eval/before/sums/predictions.parquet").to_string_lossy().into_owned();
    let (difficulty, kept) = (path("difficulty.jsonl"), path("kept.jsonl"));
    reft(&["data", "difficulty", "--input", &predictions, "--output", &difficulty]);
    let rates = fs::read_to_string(&difficulty).unwrap();
    assert!(rates.starts_with("{\"id\":\"s0\",\"answers\":3,\"pass_rate\":"), "{rates}");
    fs::write(path("short.jsonl"), (0..6).map(sum).collect::<String>()).unwrap();
    let input = path("short.jsonl");
    let select = ["data", "select", "--task", "math", "--input", &input, "--difficulty", &difficulty];
    assert!(reft(&[&select[..], &["--output", &kept]].concat()).contains("6 rows written"));
}

#[test]
fn a_run_in_use_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut child = train(dir.path(), "run").spawn().unwrap();
    let run = dir.path().join("run");
    while !run.join("run.json").exists() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    let output = resume(&run).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn doctor_finds_libtorch() {
    let output = Command::new(env!("CARGO_BIN_EXE_reft")).args(["doctor", "--json"]).output().unwrap();
    assert!(output.status.success());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["golden_ok"], true, "{found}");
}

#[test]
fn doctor_tells_what_a_checkpoint_is() {
    let model = root().join("fixtures/golden/tiny-vlm");
    let doctor = |model: &Path| {
        Command::new(env!("CARGO_BIN_EXE_reft"))
            .args(["doctor", "--json", "--model"])
            .arg(model)
            .output()
            .unwrap()
    };
    let output = doctor(&model);
    assert!(output.status.success());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["family"], &found["problem"]), (&"qwen2_5_vl".into(), &Value::Null), "{found}");

    // The config of another size: all that does not fit is on stdout, and the exit code says so.
    let other = TempDir::new().unwrap();
    fs::copy(model.join("model.safetensors"), other.path().join("model.safetensors")).unwrap();
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["text_config"]["vocab_size"] = 7.into();
    fs::write(other.path().join("config.json"), config.to_string()).unwrap();
    let output = doctor(other.path());
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["misshaped"].as_array().unwrap().len(), 2, "{found}");
}

/// A reward that overflows: advantages are no numbers, so nothing is updated, the run stops, and a replay finds out why.
#[test]
fn a_batch_that_could_not_be_trained_on_is_replayed() {
    let dir = TempDir::new().unwrap();
    let mut reft = train(dir.path(), "overflow");
    reft.args(["--set", "grpo.reward.accuracy=3e38", "--set", "grpo.reward.format=3e38"]);
    let output =
        reft.args(["--set", "grpo.preflight.enabled=false", "--set", "grpo.max_skipped=2"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("phase `binary`, step 2: the loss is not finite"), "{text}");

    let run = dir.path().join("overflow");
    let batch = run.join("non_finite/binary/step_000002");
    let replay = |more: &[&str]| {
        let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
        reft.args(["replay", "--json"]).arg(&batch).args(more).current_dir(root());
        let output = reft.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let found = replay(&[]);
    let first = |group: &Value| group["first"].as_str().unwrap_or_default().to_owned();
    let groups = found["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 6);
    assert!(groups.iter().any(|group| first(group).starts_with("advantages")), "{found}");
    assert_eq!(found["groups"], found["then"], "the same weights give the same numbers");
    // Nothing was updated, so the model of the start is the same.
    assert_eq!(replay(&["--model", "fixtures/pico-vlm"])["groups"], found["groups"]);
}

#[test]
fn a_run_goes_another_way_from_the_end_of_a_phase() {
    let dir = TempDir::new().unwrap();
    let runs = dir.path().to_string_lossy().into_owned();
    let short = ["--set", "grpo.steps=1", "--set", "run.keep_phases=true", "--set", "run.threads=1"];
    let quick = ["--set", "phase.self-improvement.limit=12", "--set", "phase.sft.steps=1"];
    let start = ["train", "configs/smoke.toml", "--runs", &runs, "--name", "first", "--quiet"];
    reft(&[&start[..], &short, &quick].concat());
    let first = dir.path().join("first");
    for phase in ["binary", "choice", "open", "sft"] {
        assert!(first.join("phases").join(phase).join("model.safetensors").exists(), "{phase}");
    }
    let weights = |path: &str| fs::read(first.join(path)).unwrap();
    assert_eq!(weights("phases/sft/model.safetensors"), weights("final/model.safetensors"));

    // The same phases again are the same run: seeds belong to phases, not to their numbers.
    let from = first.to_string_lossy().into_owned();
    let again =
        ["train", "--from", &from, "--after", "choice", "--runs", &runs, "--name", "again", "--quiet"];
    reft(&again);
    let again = dir.path().join("again");
    assert_eq!(fs::read(again.join("final/model.safetensors")).unwrap(), weights("final/model.safetensors"));
    assert!(!again.join("phases/choice").exists());

    let failure = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_reft")).args(args).current_dir(root()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = |phase: &str| failure(&["train", "--from", &from, "--after", phase, "--runs", &runs]);
    assert!(refused("curr-reft").contains("no phase comes after"));
    assert!(refused("nope").contains("has no phase `nope`; its phases are base, binary"));
    fs::remove_dir_all(first.join("phases/binary")).unwrap();
    assert!(refused("binary").contains("the model at the end of `binary` is not there"));
    // Of the answers that were kept, none are at hand.
    assert!(refused("self-improvement").contains("`self-improvement` is neither a data set nor an earlier"));
}
