//! Exactness through a whole run on the small model: `exact = true`, and same seed, same files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use curr_reft::{config::Resolved, store::RunReader, train};
use tempfile::TempDir;

/// Questions with pictures of digits; `STEPS` steps of eight questions, 32 answers each.
const RECIPE: &str = r#"
[run]
name = "exact"
seed = 7
threads = 1
[model]
path = "fixtures/pico-vlm"
device = "cpu"
[prompt]
common = "think, then answer."
binary = "yes or no?"
choice_one = "one letter."
choice_many = "letters."
open_detection = "as a box."
[data.train]
type = "scenes"
glyphs = "fixtures/digits/digits.parquet"
split = "rl"
count = 400
[[phase]]
kind = "grpo"
name = "open"
data = "train"
steps = STEPS
prompts_per_step = 8
lr = 5e-5
exact = EXACT
guard = { window = 0 }
sampling = { group_size = 32, max_new_tokens = 96 }
"#;

/// `set` as `--set KEY=VALUE`. Paths of a recipe start at the working directory, which for tests is that of the package.
fn run(runs: &Path, steps: u64, exact: bool, set: &[String]) -> PathBuf {
    let text = RECIPE.replace("STEPS", &steps.to_string()).replace("EXACT", &exact.to_string());
    let recipe = Resolved::from_text(&text, "exact.toml", set).unwrap().recipe;
    train::start(&recipe, runs, &mut ()).unwrap();
    runs.join("exact")
}

/// Tokens compared; the largest difference of any step is 0.
fn exact_tokens(run: &Path) -> f64 {
    let rows = RunReader::open(run).unwrap().metrics().unwrap();
    let get = |name: &str| rows.iter().map(|row| row.metrics.get(name).unwrap()).collect::<Vec<_>>();
    for name in ["grpo/logprob_diff_max", "grpo/logprob_diff_mean", "grpo/ratio_outside"] {
        assert!(get(name).iter().all(|&x| x == 0.0), "{name}: {:?}", get(name));
    }
    assert!(get("grpo/grad_norm").iter().all(|&x| x > 0.0), "nothing was learnt");
    get("grpo/tokens").iter().sum()
}

/// Every file by path, but those that tell the time: logs, and the length of those in a checkpoint's `stages.json`,
/// whose digest is in its `manifest.json`.
fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(run).unwrap().to_owned();
            let tells_time = ["timings.jsonl", "events.jsonl", "logs", "run.json", "run.lock"];
            let of_checkpoint = ["stages.json", "manifest.json"].iter().any(|name| below.ends_with(name));
            if of_checkpoint || tells_time.iter().any(|name| below.starts_with(name)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(below, fs::read(path).unwrap());
            }
        }
    }
    files
}

/// The first of two runs, in its folder.
fn compare_runs(exact: bool, steps: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["1", "2"].map(|name| run(&dir.path().join(name), steps, exact, &[]));
    assert_same_files(&first, &second, steps);
    dir
}

fn assert_same_files(first: &Path, second: &Path, steps: u64) {
    let (first_files, second_files) = (files(first), files(second));
    assert_eq!(first_files.keys().collect::<Vec<_>>(), second_files.keys().collect::<Vec<_>>());
    let last = format!("checkpoints/step_{steps:06}/policy/model.safetensors");
    for name in ["metrics.jsonl", "final/model.safetensors", "completions/open/step_000001.parquet", &last] {
        assert!(first_files.contains_key(Path::new(name)), "{name}: {:?}", first_files.keys());
    }
    for (path, bytes) in &first_files {
        assert!(*bytes == second_files[path], "{} differs", path.display());
    }
}

/// One step; the claim of `docs/BENCHMARKS.md`, more than 100,000 tokens, takes 16: `REFT_EXACT_STEPS=16`.
#[test]
fn rollout_and_trainer_see_the_same_numbers() {
    let steps = std::env::var("REFT_EXACT_STEPS").map_or(1, |steps| steps.parse().unwrap());
    let dir = compare_runs(true, steps);
    let tokens = exact_tokens(&dir.path().join("1/exact"));
    assert!(tokens > 6_500.0 * steps as f64, "{tokens}");
}

#[test]
fn same_seed_same_files_without_it() {
    compare_runs(false, 1);
}

/// Two steps over the same eight pictures: the second finds the features of the first.
#[test]
fn kept_image_features_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let frozen = ["phase.open.trainable.vision_tower=false", "phase.open.trainable.merger=false"];
    let run = |mib: u64| {
        let set = [
            frozen[0].to_owned(),
            frozen[1].to_owned(),
            "data.train.count=8".to_owned(),
            format!("model.feature_memory_mib={mib}"),
        ];
        run(&dir.path().join(mib.to_string()), 2, false, &set)
    };
    let (kept, anew) = (run(256), run(0));
    // The recipe is in the run's folder and tells the two apart.
    for folder in [&kept, &anew] {
        for copy in ["config.toml", "inputs/config.toml"] {
            fs::remove_file(folder.join(copy)).unwrap();
        }
    }
    assert_same_files(&kept, &anew, 2);
}
