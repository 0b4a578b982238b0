//! The method teaches the toy policy, and everything it did is in the run directory.

use reft_pipeline::Outcome;
use reft_store::{MetricRow, RunReader, read_rows};

use crate::toy;

fn mean(rows: &[MetricRow], name: &str) -> f64 {
    let values: Vec<f64> = rows.iter().filter_map(|row| row.metrics.get(name)).collect();
    assert_eq!(values.len(), rows.len(), "{name} is missing in some rows");
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn every_phase_learns_and_leaves_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let (outcome, _) = toy::run(&root, toy::phases(), &mut ());
    assert_eq!(outcome.unwrap(), Outcome::Finished { global_step: 100 });

    let reader = RunReader::open(&root).unwrap();
    let metrics = reader.metrics().unwrap();
    let of = |phase: &str| -> Vec<MetricRow> {
        let rows = metrics.iter().filter(|row| row.phase == phase);
        rows.cloned().collect()
    };
    for phase in ["binary", "choice", "open"] {
        let rows = of(phase);
        let (first, last) = (&rows[..5], &rows[rows.len() - 5..]);
        let (before, after) = (mean(first, "reward/mean"), mean(last, "reward/mean"));
        assert!(after > before + 0.5, "{phase}: {before} to {after}");
        assert_eq!(rows.last().unwrap().step, rows.len() as u64);
    }
    let sft = of("sft");
    assert!(mean(&sft[15..], "sft/loss") < 0.5 * mean(&sft[..5], "sft/loss"));
    assert_eq!(of("reject").len(), 4);

    let accuracy = |phase: &str, benchmark: &str| {
        let reports = reader.reports().unwrap();
        let report = reports.iter().find(|r| r.phase == phase && r.benchmark == benchmark).unwrap();
        report.report["accuracy"].as_f64().unwrap()
    };
    for benchmark in ["open", "binary"] {
        let (before, after) = (accuracy("base", benchmark), accuracy("final", benchmark));
        assert!(after > before + 0.3, "{benchmark}: {before} to {after}");
    }

    let files = reader.completions("open").unwrap();
    assert_eq!(files.len(), 40);
    let rows = read_rows(&files[39]).unwrap();
    assert_eq!(rows.len(), 4 * 8);
    assert_eq!(rows[0]["policy_version"], 79);
    let kept = read_rows(&root.join("rejection/reject/kept.parquet")).unwrap();
    assert!(kept.len() > 6, "{} answers kept", kept.len());
    assert!(kept.iter().all(|row| row["score"] == 100.0));

    let events = reader.events().unwrap();
    let count = |kind: &str| events.iter().filter(|e| e["event"] == kind).count();
    assert_eq!(count("phase_start"), 7);
    assert_eq!(count("evaluation"), 4);
    assert_eq!(count("finish"), 1);
    assert!(!root.join("partial").exists());
}

#[test]
fn a_finished_run_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let (_, policy) = toy::run(&root, toy::phases(), &mut ());
    let before = toy::results(&root);
    let (outcome, again) = toy::run(&root, toy::phases(), &mut ());
    assert_eq!(outcome.unwrap(), Outcome::Finished { global_step: 100 });
    assert_eq!(toy::results(&root), before);
    assert_eq!(policy, again);
}

#[test]
fn a_seed_is_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    toy::run(&a, toy::phases(), &mut ()).0.unwrap();
    toy::run(&b, toy::phases(), &mut ()).0.unwrap();
    toy::assert_same_results(&a, &b);
}
