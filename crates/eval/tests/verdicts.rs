//! Every grader against executed verdicts of the original, on a thinned set; `examples/verdicts.rs` takes the whole.

#[path = "verdicts/mod.rs"]
mod verdicts;

use std::path::Path;

#[test]
fn graders_agree_with_the_originals() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/cases/benchmarks");
    let outcome = match verdicts::run(&dir) {
        Ok(outcome) => outcome,
        Err(message) => panic!("{message}"),
    };
    assert!(outcome.all() > 2_000, "{} verdicts", outcome.all());
    assert_eq!(outcome.unlisted(), 0, "{outcome}");
}

#[test]
fn a_folder_without_cases_is_an_error() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(verdicts::run(dir).is_err());
}
