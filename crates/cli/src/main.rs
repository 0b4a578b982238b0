//! `reft`: the command line with the stages that recipes ask for.

use std::process::ExitCode;

fn main() -> ExitCode {
    reft_cli::main_with(|_, _| Ok(()))
}
