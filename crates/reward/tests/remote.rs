//! Rewards of a user's own: a real program over a pipe and a real server on this machine, as recipes name them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
};

use reft_config::{ProgramRewardConfig, RewardConfig, ServerRewardConfig};
use reft_core::{BoxFrame, Completion, Form, Group, Reward as _, RewardOutcome, RewardParts, Sample, Task};
use reft_reward::{Deadline, Rubric};
use serde_json::{Value, json};

fn group(texts: &[&str]) -> Group {
    let sample = Sample {
        id: "q1".into(),
        task: Task::Math,
        form: Form::Open,
        problem: "1 + 1?".into(),
        messages: Vec::new(),
        solution: "2".into(),
        box_frame: BoxFrame::Original,
        parent: None,
    };
    Group {
        sample: Arc::new(sample),
        prompt_tokens: 0,
        completions: texts.iter().map(|&text| Completion::from_text(text)).collect(),
        policy_version: None,
        temperature: None,
    }
}

/// Scores the length of the text, and does what the text says.
const PROGRAM: &str = r#"
import json, os, sys, time
for line in sys.stdin:
    ask = json.loads(line)
    assert ask["sample"]["solution"] == "2" and ask["completion"]["finish"] == "stop", ask
    text = ask["completion"]["text"]
    if text == "crash": os._exit(3)
    if text == "hang": time.sleep(600)
    answer = {"error": {"error": "no idea"}, "long": {"score": 7}, "wrong": {"points": 1}}
    if text == "stray": print(json.dumps({"score": 1.0}), flush=True)
    if text == "stray soon": print("loading", flush=True)
    answer = answer.get(text, {"score": len(text) / 10, "note": "ignored"})
    print(json.dumps({**answer, "id": ask["id"]}), flush=True)
"#;

fn program(timeout_s: f64) -> RewardConfig {
    let program = ProgramRewardConfig {
        command: ["python3", "-c", PROGRAM].map(str::to_owned).into(),
        weight: 2.0,
        processes: 2,
        timeout_s,
        retries: 1,
        range: [0.0, 1.0],
    };
    RewardConfig { program: [("style".to_owned(), program)].into(), ..RewardConfig::default() }
}

fn score(config: &RewardConfig, texts: &[&str]) -> Vec<RewardParts> {
    let rubric = Rubric::from_recipe(config, None).unwrap();
    Deadline::from_recipe(Box::new(rubric), config).score_group(&group(texts)).unwrap()
}

#[test]
fn a_program_scores_beside_the_rubric() {
    let right = "<think>t</think><answer>2</answer>";
    let scores = score(&program(20.0), &[right, "abcde", "crash", "error", "long", "wrong", "abc"]);
    // Too long for the range.
    let outcome = |i: usize| scores[i].outcome.reason().unwrap_or("none");
    assert!(outcome(0).contains("`style`: the score 3.4 is outside of `range` = [0, 1]"), "{}", outcome(0));
    assert_eq!(scores[0].part("accuracy"), Some(1.0));
    assert_eq!((scores[1].part("style"), scores[1].total), (Some(0.5), 1.0));
    assert_eq!(scores[1].outcome, RewardOutcome::Score);
    assert!(outcome(2).contains("exit status: 3"), "{}", outcome(2));
    assert!(outcome(3).contains("`style`: no idea"), "{}", outcome(3));
    assert!(outcome(5).contains("no number `score`"), "{}", outcome(5));
    assert_eq!(scores[6].part("style"), Some(0.3));
    // The same in any order.
    let again = score(&program(20.0), &["abc", "abcde"]);
    assert_eq!((&again[0], &again[1]), (&scores[6], &scores[1]));
}

#[test]
fn a_program_that_hangs_costs_its_completion_alone() {
    let scores = score(&program(2.0), &["hang", "abcde"]);
    assert_eq!(scores[0].outcome, RewardOutcome::Timeout { reason: "`style`: no answer within 2 s".into() });
    assert_eq!((scores[0].total, scores[1].total), (0.0, 1.0));
}

/// A line that nobody asked for is no score, of this question or of a later one.
#[test]
fn stray_output_is_an_error_and_moves_no_score() {
    let mut config = program(20.0);
    config.program.get_mut("style").unwrap().processes = 1;
    let scores = score(&config, &["stray", "abcde", "stray soon", "abc", "a"]);
    let style: Vec<f32> = scores.iter().map(|parts| parts.part("style").unwrap()).collect();
    assert_eq!(style, [0.0, 0.5, 0.0, 0.3, 0.1]);
    let RewardOutcome::Failed { reason } = &scores[0].outcome else { panic!("{:?}", scores[0].outcome) };
    assert!(reason.contains("repeat the `id`") && reason.contains("standard error"), "{reason}");
    let RewardOutcome::Failed { reason } = &scores[2].outcome else { panic!("{:?}", scores[2].outcome) };
    assert!(reason.contains("`loading`"), "{reason}");
}

/// What a program has started ends with it.
#[test]
#[cfg(target_os = "linux")]
fn the_children_of_a_program_end_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!(
        "import json, subprocess, sys, time\n\
         child = subprocess.Popen(['sleep', '600'])\n\
         open({pid:?}, 'w').write(str(child.pid))\n\
         time.sleep(600)\n"
    );
    let mut config = program(1.0);
    config.program.get_mut("style").unwrap().command = vec!["python3".into(), "-c".into(), script];
    let _ = Rubric::from_recipe(&config, None).unwrap().score_group(&group(&["x"]));
    let pid = std::fs::read_to_string(pid).unwrap();
    let is_there = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // Killed, and not yet buried by its new parent.
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => false,
    };
    for _ in 0..200 {
        if !is_there() {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{pid} is still there");
}

#[test]
fn a_program_that_cannot_start_stops_the_run() {
    let mut config = program(20.0);
    config.program.get_mut("style").unwrap().command = vec!["no-such-program".into()];
    let rubric = Rubric::from_recipe(&config, None).unwrap();
    let error = rubric.score_group(&group(&["a"])).unwrap_err().to_string();
    assert!(error.contains("reward `style`: `no-such-program` does not start"), "{error}");
}

/// Answers every question with what `answer` makes of it.
fn serve(answer: impl Fn(&Value) -> Value + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/score", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let text = answer(&serde_json::from_slice(&body).unwrap()).to_string();
            let n = text.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n{text}")
                .unwrap();
        }
    });
    url
}

#[test]
fn a_server_scores_beside_the_rubric() {
    let url = serve(|ask| {
        assert_eq!(ask["sample"]["id"], "q1");
        json!({"score": ask["completion"]["text"].as_str().unwrap().len() as f64 / 10.0})
    });
    let server = ServerRewardConfig {
        url,
        weight: 1.0,
        connections: 4,
        timeout_s: 10.0,
        retries: 0,
        backoff_s: 0.1,
        range: [0.0, 1.0],
        token_env: None,
    };
    let config = RewardConfig {
        accuracy: 0.0,
        format: 0.0,
        server: [("vision".to_owned(), server.clone())].into(),
        ..RewardConfig::default()
    };
    let scores = score(&config, &["abcde", "abc", ""]);
    let expected = [0.5, 0.3, 0.0].map(|score| RewardParts::single("vision", score));
    assert_eq!(scores, expected);

    let unset = ServerRewardConfig { token_env: Some("REFT_NO_SUCH_TOKEN".into()), ..server };
    let config = RewardConfig { server: [("vision".to_owned(), unset)].into(), ..RewardConfig::default() };
    let error = Rubric::from_recipe(&config, None).err().unwrap().to_string();
    assert!(error.contains("reward `vision`") && error.contains("`REFT_NO_SUCH_TOKEN`"), "{error}");
}

/// The example of docs/REWARDS.md, as it is.
#[test]
fn the_example_program_scores() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/reward_program.py");
    let mut config = program(20.0);
    config.program.get_mut("style").unwrap().command = vec!["python3".into(), path.into()];
    let long = format!("<think>{}</think><answer>2</answer>", "word ".repeat(100));
    let scores = score(&config, &["<think>short</think><answer>2</answer>", &long]);
    assert_eq!((scores[0].part("style"), scores[1].part("style")), (Some(1.0), Some(0.5)));
}
