//! Real child processes: they answer, crash, hang, babble, and are gone when nobody needs them.

use std::{
    thread,
    time::{Duration, Instant},
};

use reft_remote::{CallError, Program, ProgramSpec};
use serde_json::{Value, json};

const PREAMBLE: &str = "import json, os, sys, time\nfor line in sys.stdin:\n    ask = json.loads(line)\n    n = ask['n']\n    say = lambda o: print(json.dumps({**o, 'id': ask['id']}), flush=True)\n";

/// A program whose loop body is `body`.
fn program(body: &str, processes: usize, retries: u32) -> Program {
    let body = format!("    {}\n", body.replace('\n', "\n    "));
    Program::new(ProgramSpec {
        command: vec!["python3".into(), "-c".into(), format!("{PREAMBLE}{body}")],
        processes,
        timeout: Duration::from_millis(if body.contains("sleep(60)") { 1_500 } else { 20_000 }),
        retries,
    })
}

fn failure(result: Result<Value, CallError>) -> String {
    let Err(CallError::Failed(reason)) = result else { panic!("{result:?}") };
    reason
}

#[test]
fn questions_are_answered_in_parallel_and_by_whom_they_were_asked() {
    let program = program("say({'twice': 2 * n, 'pid': os.getpid()})", 2, 0);
    let mut pids: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|t| {
                let program = &program;
                scope.spawn(move || {
                    let answers = (0..25).map(|i| {
                        let answer = program.call(&json!({"n": 100 * t + i})).unwrap();
                        assert_eq!(answer["twice"], 2 * (100 * t + i));
                        answer["pid"].as_u64().unwrap()
                    });
                    answers.collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    pids.sort_unstable();
    pids.dedup();
    assert!((1..=2).contains(&pids.len()), "{pids:?}");
}

#[test]
fn a_crash_is_started_again_and_explained() {
    let once = program(
        "import pathlib, tempfile\nmark = pathlib.Path(tempfile.gettempdir()) / f'reft-crash-{os.getppid()}'\nif not mark.exists():\n    mark.touch()\n    sys.exit(3)\nmark.unlink()\nsay({'pid': os.getpid()})",
        1,
        1,
    );
    assert!(once.call(&json!({"n": 1})).unwrap()["pid"].is_u64());

    let always = program("raise ValueError(f'no score for {n}')", 1, 2);
    let reason = failure(always.call(&json!({"n": 7})));
    assert!(
        reason.contains("closed its output (exit status: 1)")
            && reason.contains("ValueError: no score for 7"),
        "{reason}"
    );
    // The pool is whole again after every crash.
    failure(always.call(&json!({"n": 8})));
}

#[test]
fn a_program_that_hangs_is_killed_in_time_and_replaced() {
    let program = program("if n < 0:\n    time.sleep(60)\nsay({'pid': os.getpid()})", 1, 3);
    let start = Instant::now();
    let timeout = program.call(&json!({"n": -1}));
    assert_eq!(timeout, Err(CallError::Timeout(Duration::from_millis(1_500))));
    assert!(start.elapsed() < Duration::from_secs(10));
    // The replacement starts within the same limit: an interpreter needs a part of it.
    let answers: Vec<_> = (0..3).map(|_| program.call(&json!({"n": 1}))).collect();
    assert!(answers.iter().any(Result::is_ok), "{answers:?}");
}

#[test]
fn a_program_that_does_not_read_is_killed_too() {
    let deaf = Program::new(ProgramSpec {
        command: vec!["sleep".into(), "60".into()],
        processes: 1,
        timeout: Duration::from_millis(100),
        retries: 0,
    });
    // More than a pipe holds, so that writing blocks.
    let long = json!({"n": "x".repeat(1 << 20)});
    assert_eq!(deaf.call(&long), Err(CallError::Timeout(Duration::from_millis(100))));
}

#[test]
fn answers_must_be_objects() {
    let babble = program("print('hello', n, flush=True)", 1, 0);
    assert!(failure(babble.call(&json!({"n": 1}))).contains("not `hello 1`"));
    assert!(failure(babble.call(&json!({"n": 2}))).contains("not `hello 2`"));
}

/// An answer repeats the id of its question; a line that somebody printed does not.
#[test]
fn answers_belong_to_their_questions() {
    let talkative = program("if n == 1:\n    print('{\"score\": 1}', flush=True)\nsay({'n': n})", 1, 0);
    let reason = failure(talkative.call(&json!({"n": 1})));
    assert!(reason.contains("repeat the `id` of its question, 0, and this has none"), "{reason}");
    for n in 2..5 {
        assert_eq!(talkative.call(&json!({"n": n})).unwrap(), json!({"n": n}));
    }
    let behind = program("say({'n': n})\nif n == 1:\n    say({'n': -1})", 1, 0);
    assert_eq!(behind.call(&json!({"n": 1})).unwrap(), json!({"n": 1}));
    let reason = failure(behind.call(&json!({"n": 2})));
    assert!(reason.contains("1, and this has 0"), "{reason}");
    assert_eq!(behind.call(&json!({"n": 3})).unwrap(), json!({"n": 3}));
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let spec = |command: &[&str]| ProgramSpec {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        processes: 1,
        timeout: Duration::from_secs(1),
        retries: 5,
    };
    let Err(CallError::Unusable(reason)) = Program::new(spec(&["no-such-program"])).call(&json!({})) else {
        panic!("it started");
    };
    assert!(reason.contains("`no-such-program` does not start"), "{reason}");
    assert!(matches!(Program::new(spec(&[])).call(&json!({})), Err(CallError::Unusable(_))));
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_behind() {
    let pid = {
        let program = program("say({'pid': os.getpid()})", 1, 0);
        program.call(&json!({"n": 1})).unwrap()["pid"].as_u64().unwrap()
    };
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
