//! Families that the other tests of the binary do not train: a GRPO and an SFT phase on the tiny checkpoint of each, killed
//! and resumed.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Answers of random weights are never right, so what is paid is their length.
const RECIPE: &str = r#"
    run = { name = "family", threads = 1, checkpoint_every = 1 }

    [model]
    path = "MODEL"
    device = "cpu"

    [data.train]
    type = "scenes"
    glyphs = "fixtures/digits/digits.parquet"
    split = "rl"
    count = 24
    seed = 10

    [[phase]]
    kind = "grpo"
    name = "open"
    data = "train"
    steps = 2
    prompts_per_step = 2
    lr = 1e-3
    sampling = { group_size = 4, max_new_tokens = 48 }
    reward = { length = { type = "overlong", max_tokens = 48, buffer_tokens = 48 } }

    [[phase]]
    kind = "sft"
    name = "polish"
    data = ["train"]
    steps = 2
    batch_size = 2
    lr = 1e-3
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn reft(args: &[&str]) -> Command {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(args).current_dir(root()).env("GOMP_SPINCOUNT", "5000").stderr(Stdio::piped());
    reft
}

fn finish(mut reft: Command) {
    let output = reft.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Before the first step: the phase that is wrong may be hours away.
#[test]
fn a_frame_that_tiles_do_not_have_is_refused_at_the_start() {
    let dir = TempDir::new().unwrap();
    let recipe = dir.path().join("recipe.toml");
    let eval = "[[phase]]\nkind = \"eval\"\nname = \"test\"\ndata = [\"train\"]\n";
    fs::write(&recipe, RECIPE.replace("MODEL", "fixtures/golden/smolvlm/model") + eval).unwrap();
    let set = "phase.test.reward.answer_frame=\"model_input\"";
    let runs = dir.path().to_str().unwrap();
    let output = reft(&["train", recipe.to_str().unwrap(), "--runs", runs, "--set", set]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("reward of phase `test`: `answer_frame = "), "{said}");
    assert!(!dir.path().join("family/metrics.jsonl").exists(), "no step was done");
}

#[test]
fn families_train_and_resume_with_equal_bytes() {
    for model in ["qwen3_5", "smolvlm", "internvl-qwen3"] {
        let dir = TempDir::new().unwrap();
        let recipe = dir.path().join("recipe.toml");
        fs::write(&recipe, RECIPE.replace("MODEL", &format!("fixtures/golden/{model}/model"))).unwrap();
        let paths = [&recipe, dir.path()].map(|path: &Path| path.to_str().unwrap().to_owned());
        let train = |name: &str| reft(&["train", &paths[0], "--name", name, "--runs", &paths[1]]);
        finish(train("whole"));

        let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
        let mut child = train("killed").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        let has_step =
            |step: &str| fs::read_to_string(killed.join("metrics.jsonl")).is_ok_and(|m| m.contains(step));
        while !has_step("\"step\":1") && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // The process may be done already; then there is nothing to kill and the comparison still holds.
        let _ = child.kill();
        child.wait().unwrap();
        finish(reft(&["train", "--resume", killed.to_str().unwrap()]));
        for file in ["metrics.jsonl", "final/model.safetensors"] {
            let same = fs::read(whole.join(file)).unwrap() == fs::read(killed.join(file)).unwrap();
            assert!(same, "{model}: {file} of a killed run differs");
        }
        let metrics = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        let rows: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 4, "{model}");
        // A group whose answers are all equally long teaches nothing.
        for norm in ["grpo/grad_norm", "sft/grad_norm"] {
            let learns = rows.iter().filter_map(|row| row.get(norm)?.as_f64()).any(|norm| norm > 0.0);
            assert!(learns, "{model}: {norm} is 0 in every step");
        }
        // The folder is a checkpoint like that which it began with.
        finish(reft(&["doctor", "--model", whole.join("final").to_str().unwrap()]));
    }
}
