//! What is written can be read: completions, kept answers, predictions, the summary.

use std::{fs, sync::Arc};

use parquet::file::{
    metadata::RowGroupMetaData,
    reader::{FileReader as _, SerializedFileReader},
};
use reft_core::{
    Completion, FinishReason, GradedGroup, Group, ImageRef, ImageSize, ImageSource, JudgedGroup, Judgement,
    KeptAnswer, Metrics, Part, Recorder as _, RewardOutcome, RewardParts, RunStore as _, ScoredGroup,
    Verdict,
};
use reft_store::{RunReader, read_rows};
use reft_testkit::{sums, with_image};
use serde_json::{Value, json};

use crate::support::{Blob, create, step};

fn group() -> Group {
    let size = ImageSize { width: 4, height: 3 };
    let answer = |text: &str, logprobs: Vec<f32>, finish| Completion {
        text: text.into(),
        token_ids: vec![1; logprobs.len()],
        logprobs,
        finish,
        think_opened: false,
        support: None,
    };
    Group {
        sample: with_image(&sums(3)[2], size, [9, 9, 9]),
        prompt_tokens: 17,
        completions: vec![
            answer("<answer>1</answer>", vec![-1.0, -2.0], FinishReason::Stop),
            answer("um", vec![], FinishReason::Length),
        ],
        policy_version: Some(5),
        temperature: None,
    }
}

fn reject(reason: &str) -> Verdict {
    Verdict::Reject { reason: reason.into() }
}

#[test]
fn completions_hold_everything_about_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let reward = |total: f32| RewardParts {
        total,
        parts: vec![("format".into(), total), ("accuracy".into(), 0.0)],
        ..RewardParts::default()
    };
    let scored = ScoredGroup {
        group: group(),
        rewards: vec![
            reward(1.0),
            RewardParts { outcome: RewardOutcome::Timeout { reason: "slow".into() }, ..reward(0.0) },
        ],
        advantages: vec![0.5, -0.5],
        verdict: reject("zero_variance"),
    };
    create(&root).groups("a", 10, &[scored]).unwrap();

    let files = RunReader::open(&root).unwrap().completions("a").unwrap();
    assert_eq!(files, [root.join("completions/a/step_000010.parquet")]);
    let rows = read_rows(&files[0]).unwrap();
    let expected = json!({
        "sample": "sum-1-0", "parent": null, "task": "math", "form": "open",
        "prompt": "<image>1 + 0", "images": ["sum-1-0.png"], "solution": "1",
        "index": 0, "completion": "<answer>1</answer>", "finish": "stop", "think_opened": false, "tokens": 2,
        "prompt_tokens": 17, "logprob_mean": -1.5, "policy_version": 5,
        "reward": 1.0, "reward_accuracy": 0.0, "reward_format": 1.0,
        "outcome": "score", "outcome_reason": null, "advantage": 0.5,
        "verdict": "reject", "reason": "zero_variance",
    });
    assert_eq!(Value::Object(rows[0].clone()), expected);
    assert_eq!(rows[1]["logprob_mean"], Value::Null);
    assert_eq!(rows[1]["finish"], "length");
    assert_eq!((&rows[1]["outcome"], &rows[1]["outcome_reason"]), (&json!("timeout"), &json!("slow")));
}

/// Kept answers are written a few megabytes of images at a time: a set may be larger than memory and than an Arrow column.
#[test]
fn kept_images_are_written_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let image = ImageRef {
        source: ImageSource::Bytes(vec![7; 20 << 20].into()),
        size: ImageSize { width: 4, height: 3 },
        label: "large.png".into(),
    };
    let judged: Vec<_> = (0..9)
        .map(|i| {
            let mut group = group();
            let mut sample = (*group.sample).clone();
            sample.id = format!("q{i}").into();
            sample.messages[0].content = vec![Part::Image(image.clone())];
            group.sample = Arc::new(sample);
            let judgement = Judgement { score: 90.0, reason: String::new() };
            (
                JudgedGroup { group, judgements: vec![judgement.clone(), judgement] },
                vec![Verdict::Admit, reject("x")],
            )
        })
        .collect();
    create(&root).save_kept("a", &judged).unwrap();
    let path = root.join("rejection/a/kept.parquet");
    assert_eq!(read_rows(&path).unwrap().len(), 9);
    let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let rows: Vec<i64> = reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    assert_eq!(rows, [3, 3, 3]);
}

#[test]
fn kept_answers_come_back_and_are_a_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let judgement = |score: f32| Judgement { score, reason: format!("score \"{score}\"\nline two") };
    let judged = (
        JudgedGroup { group: group(), judgements: vec![judgement(97.5), judgement(3.0)] },
        vec![Verdict::Admit, reject("below_threshold")],
    );
    let mut run = create(&root);
    run.judged("a", 1, std::slice::from_ref(&judged)).unwrap();
    run.save_kept("a", &[judged]).unwrap();
    assert_eq!(
        run.load_kept("a").unwrap(),
        [KeptAnswer {
            sample: "sum-1-0".into(),
            completion: "<answer>1</answer>".into(),
            score: 97.5,
            reason: "score \"97.5\"\nline two".into(),
        }]
    );
    let line = fs::read_to_string(root.join("rejection/a/kept.jsonl")).unwrap();
    let row: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        row["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "image", "image": "sum-1-0.png"},
                {"type": "text", "text": "1 + 0"},
            ]},
            {"role": "assistant", "content": "<answer>1</answer>"},
        ])
    );
    assert_eq!(read_rows(&root.join("rejection/a/kept.parquet")).unwrap().len(), 1);
    let all = read_rows(&root.join("completions/a/step_000001.parquet")).unwrap();
    assert_eq!(all[1]["reason"], "below_threshold");
    assert_eq!(all[1]["score"], 3.0);

    fs::write(root.join("rejection/a/kept.jsonl"), format!("{line}{{\n")).unwrap();
    let message = run.load_kept("a").unwrap_err().to_string();
    assert!(message.contains("kept.jsonl") && message.contains("line 2"), "{message}");
}

#[test]
fn reports_and_predictions_stand_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let graded = GradedGroup { group: group(), marks: vec![1.0.into(), 0.0.into()] };
    let report = json!({"accuracy": 0.5});
    create(&root).save_report("b", "digits", &[graded], &report).unwrap();
    let reader = RunReader::open(&root).unwrap();
    let reports = reader.reports().unwrap();
    assert_eq!((reports[0].benchmark.as_str(), &reports[0].report), ("digits", &report));
    let rows = read_rows(&reader.predictions("b", "digits")).unwrap();
    assert_eq!((&rows[0]["grade"], &rows[1]["grade"]), (&json!(1.0), &json!(0.0)));
}

#[test]
fn metrics_are_sorted_exact_and_read_while_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut run = create(&root);
    let mut metrics = Metrics::new();
    metrics.set("z/third", 1.0 / 3.0);
    metrics.set("a/infinite", f64::INFINITY);
    run.step("a", 1, &metrics).unwrap();
    let path = root.join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"phase\":\"a\",\"step\":1,\"a/infinite\":null,\"z/third\":0.3333333333333333}\n");
    fs::write(&path, format!("{text}{{\"phase\":\"a\",\"ste")).unwrap();
    let rows = RunReader::open(&root).unwrap().metrics().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].metrics.get("z/third"), Some(1.0 / 3.0));

    // A line that was cut is left out and named; the next one begins behind it.
    fs::write(&path, format!("{text}{{\"phase\":\"a\",\"ste")).unwrap();
    run.step("a", 3, &metrics).unwrap();
    let reader = RunReader::open(&root).unwrap();
    let steps: Vec<u64> = reader.metrics().unwrap().iter().map(|row| row.step).collect();
    assert_eq!(steps, [1, 3]);
    let damaged = reader.damaged();
    assert!(
        damaged.len() == 1 && damaged[0].contains("metrics.jsonl") && damaged[0].contains("line 2"),
        "{damaged:?}"
    );

    let file = root.join("completions.parquet");
    fs::write(&file, "PAR1").unwrap();
    assert!(reader.rows(&file).is_empty());
    assert!(
        reader.damaged().iter().any(|what| what.contains("completions.parquet")),
        "{:?}",
        reader.damaged()
    );
}

#[test]
fn the_summary_compares_start_and_end_of_each_phase() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut run = create(&root);
    for n in 1..=20 {
        step(&mut run, "b", n);
    }
    run.finish(&Blob::small(1)).unwrap();
    let summary = RunReader::open(&root).unwrap().summary().unwrap();
    assert!(summary.finished);
    assert_eq!(summary.phases.len(), 1);
    let phase = &summary.phases[0];
    assert_eq!((phase.phase.as_str(), phase.steps), ("b", 20));
    assert_eq!(phase.first.get("reward/mean"), Some(1.5));
    assert_eq!(phase.last.get("reward/mean"), Some(19.5));
    assert!(root.join("final/blob.bin").exists());
}

#[test]
fn equal_records_are_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let graded = [GradedGroup { group: group(), marks: vec![1.0.into(), 0.0.into()] }];
    let write = |name: &str| {
        let root = dir.path().join(name);
        create(&root).save_report("b", "x", &graded, &json!({})).unwrap();
        fs::read(root.join("eval/b/x/predictions.parquet")).unwrap()
    };
    assert_eq!(write("one"), write("two"));
    assert_eq!(Arc::strong_count(&graded[0].group.sample), 1);
}
