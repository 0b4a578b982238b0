//! One run by several processes, started as torchrun starts them: the answers of one process, one run directory, kills.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn reft(args: &[&str]) -> Command {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(args).current_dir(root()).env("GOMP_SPINCOUNT", "5000");
    reft.stdout(Stdio::piped()).stderr(Stdio::piped());
    reft
}

/// Starts every rank of a command, as often as it was started before.
fn start(size: usize, restarts: u32, args: &[&str]) -> Vec<Child> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let one = |rank: usize| {
        reft(args)
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", size.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env("TORCHELASTIC_RESTART_COUNT", restarts.to_string())
            .spawn()
            .unwrap()
    };
    (0..size).map(one).collect()
}

fn end(ranks: Vec<Child>) -> Vec<Output> {
    // Each is read by a thread of its own: one that waits to be read would hold up the others.
    let threads: Vec<_> =
        ranks.into_iter().map(|rank| thread::spawn(|| rank.wait_with_output().unwrap())).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn runs(dir: &TempDir) -> String {
    dir.path().to_string_lossy().into_owned()
}

fn train<'a>(runs: &'a str, name: &'a str) -> Vec<&'a str> {
    let recipe = ["train", "configs/smoke.toml", "--runs", runs, "--name", name];
    [&recipe[..], &["--set", "run.threads=1", "--set", "grpo.steps=2"]].concat()
}

fn divided(args: Vec<&str>) -> Vec<&str> {
    [&args[..], &["--set", "run.shard=optimizer"]].concat()
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of every step of a run what was paid for its answers, how long they were, and what was learned from them.
fn outcome(run: &Path) -> Vec<(String, Vec<(&'static str, f64)>)> {
    let numbers = [
        "step",
        "reward/mean",
        "completion/length_mean",
        "groups/mixed",
        "grpo/loss",
        "grpo/grad_norm",
        "grpo/kl",
        "sft/loss",
    ];
    let of = |row: &Value| {
        let number = |&name: &&'static str| Some((name, row.get(name)?.as_f64()?));
        (row["phase"].to_string(), numbers.iter().filter_map(number).collect())
    };
    metrics(run).iter().map(of).collect()
}

/// Gradients of ranks are added in another order than those of one, so that numbers differ in their last digits.
fn assert_same_outcome(one: &Path, other: &Path) {
    let (one, other) = (outcome(one), outcome(other));
    assert!(one.iter().any(|(_, numbers)| numbers.iter().any(|(name, _)| *name == "grpo/loss")));
    assert_eq!(one.len(), other.len());
    for (row, (phase, numbers)) in one.iter().zip(&other) {
        assert_eq!((&row.0, row.1.len()), (phase, numbers.len()));
        for ((name, x), (_, y)) in row.1.iter().zip(numbers) {
            assert!((x - y).abs() <= 1e-5 + 1e-4 * x.abs(), "{phase} {name}: {x} and {y}");
        }
    }
}

/// Files by path below the run.
fn files(run: &Path, part: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![run.join(part)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.insert(path.strip_prefix(run).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Kills one of some ranks when the run has done a step of a phase; what each says.
fn kill(mut ranks: Vec<Child>, rank: usize, run: &Path, phase: &str) -> Vec<Output> {
    let phase = format!("\"{phase}\"");
    while !fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|text| text.contains(&phase)) {
        assert!(ranks[rank].try_wait().unwrap().is_none(), "the run has ended too soon");
        thread::sleep(Duration::from_millis(20));
    }
    ranks[rank].kill().unwrap();
    end(ranks)
}

#[test]
fn two_ranks_give_what_one_gives_and_the_same_bytes_after_a_kill() {
    let dir = TempDir::new().unwrap();
    let runs = runs(&dir);
    let alone = reft(&train(&runs, "alone")).output().unwrap();
    assert!(alone.status.success(), "{}", stderr(&alone));
    let [alone, two, again, apart] = ["alone", "two", "again", "apart"].map(|name| dir.path().join(name));
    kill(start(2, 0, &train(&runs, "again")), 1, &again, "open");
    for (name, restarts) in [("two", 0), ("again", 1), ("apart", 0)] {
        let args = if name == "apart" { divided(train(&runs, name)) } else { train(&runs, name) };
        let outputs = end(start(2, restarts, &args));
        for output in &outputs {
            assert!(output.status.success(), "{}", stderr(output));
        }
        let [first, second] = &outputs[..] else { panic!("two ranks") };
        assert!(
            stderr(first).contains("rank 1 of 2 (torchrun): CPU, number 1 on its machine"),
            "{}",
            stderr(first)
        );
        assert_eq!(stderr(second), "", "the first rank alone shows what the run does");
        assert!(second.stdout.is_empty());
    }
    assert_same_outcome(&alone, &two);
    // With divided moments the norm of the gradients is added in another order; what the ranks answer and learn is the same.
    assert_same_outcome(&two, &apart);
    let log = fs::read_to_string(two.join("logs/attempt_1_rank_1.log")).unwrap();
    let timings = fs::read_to_string(two.join("timings.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("\"timings\"")).count(), timings.lines().count());
    for line in timings.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
        assert!(number("ranks/wait_s") <= number("time/step_s").max(number("rank1/time/step_s")), "{row}");
        assert!(number("ranks/slowest") <= 1.0);
    }
    assert!(files(&two, "metrics.jsonl") == files(&again, "metrics.jsonl"));
    for part in ["completions", "rejection", "eval", "final"] {
        assert!(files(&two, part) == files(&again, part), "{part}");
        assert!(files(&two, part) == files(&apart, part), "{part} where each keeps its part of the moments");
    }
}

/// With `exact = true` two ranks learn what one learns, to the bit: in all reinforcement learning of a run.
#[test]
fn exact_phases_of_two_ranks_are_those_of_one() {
    let dir = TempDir::new().unwrap();
    let runs = runs(&dir);
    let exact = |name| {
        let mut args = train(&runs, name);
        args.extend(["--set", "grpo.exact=true", "--set", "grpo.sampling.max_new_tokens=24"]);
        args
    };
    let alone = reft(&exact("alone")).output().unwrap();
    assert!(alone.status.success(), "{}", stderr(&alone));
    for output in end(start(2, 0, &exact("two"))) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let [alone, two] = ["alone", "two"].map(|name| dir.path().join(name));
    let learned = |run: &Path| {
        let mut rows = metrics(run);
        rows.retain(|row| row.get("grpo/loss").is_some());
        rows
    };
    assert_eq!(learned(&alone).len(), 6);
    assert_eq!(learned(&alone), learned(&two));
    for phase in ["binary", "choice", "open"] {
        let part = format!("completions/{phase}");
        assert!(files(&alone, &part) == files(&two, &part), "{part}");
    }
}

#[test]
fn a_killed_rank_ends_all_and_the_same_command_goes_on() {
    let dir = TempDir::new().unwrap();
    let runs = runs(&dir);
    let run = dir.path().join("killed");
    let outputs = kill(start(3, 0, &divided(train(&runs, "killed"))), 2, &run, "choice");
    for output in &outputs[..2] {
        assert!(!output.status.success());
        assert!(stderr(output).contains("rank 2 is gone or does not answer"), "{}", stderr(output));
    }
    // As torchrun does: the same command again, with as many ranks as there still are.
    for output in end(start(2, 1, &divided(train(&runs, "killed")))) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let attempts: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(attempts["attempts"], 2);
    let alone = reft(&train(&runs, "alone")).output().unwrap();
    assert!(alone.status.success(), "{}", stderr(&alone));
    assert_same_outcome(&dir.path().join("alone"), &run);
}

#[test]
fn what_one_rank_cannot_do_stops_all_with_its_words() {
    let dir = TempDir::new().unwrap();
    let runs = runs(&dir);
    fs::create_dir(dir.path().join("taken")).unwrap();
    fs::write(dir.path().join("taken/file"), "").unwrap();
    for (rank, output) in end(start(2, 0, &train(&runs, "taken"))).iter().enumerate() {
        assert!(!output.status.success());
        let words = stderr(output);
        assert!(words.contains("taken"), "rank {rank}: {words}");
    }
    let lone = reft(&train(&runs, "lone")).env("RANK", "0").output().unwrap();
    assert!(stderr(&lone).contains("`RANK` is set and `WORLD_SIZE` is not"), "{}", stderr(&lone));
}
