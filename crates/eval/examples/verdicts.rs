//! Holds every grader to executed verdicts of the original.
//!
//! ```text
//! cargo run --release -p reft-eval --example verdicts -- DIR
//! ```
//!
//! `DIR` has a file `BENCHMARK.jsonl` for each benchmark and `aggregates.json`: fixtures/cases/benchmarks, for example. Prints
//! how many verdicts of each grader agree, lists what differs, and exits 1 where a difference is not listed in
//! docs/BENCHMARKS_VLM.md.
#![expect(clippy::print_stdout, reason = "this is what it says")]

#[path = "../tests/verdicts/mod.rs"]
mod verdicts;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("usage: verdicts DIR");
        return ExitCode::from(2);
    };
    let outcome = match verdicts::run(&dir) {
        Ok(outcome) => outcome,
        Err(message) => {
            println!("{message}");
            return ExitCode::from(2);
        }
    };
    println!("{outcome}");
    if outcome.unlisted() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
