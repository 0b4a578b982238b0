//! `reft`: parse, call one function of the facade, print.

mod args;
mod commands;
mod interrupt;
mod output;
mod pace;
mod panics;
mod progress;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

use args::Cli;
use reft_allocator as _;

/// Something failed while it ran.
const FAILED: u8 = 1;
/// Bad usage or a bad recipe; clap uses the same code.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match panics::explained(|| commands::run(cli.command, cli.global)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
        Some(Err(error)) => {
            // With nowhere left to complain, the exit code still says it.
            let _ = writeln!(io::stderr(), "error: {}", output::visible(&words(&error)));
            ExitCode::from(code(&error))
        }
    }
}

/// The error and its causes, without a cause that its parent has already quoted.
fn words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn code(error: &anyhow::Error) -> u8 {
    let bad_recipe = error.is::<curr_reft::config::ConfigError>()
        || matches!(
            error.downcast_ref(),
            Some(
                curr_reft::Error::Config(_)
                    | curr_reft::Error::Table(curr_reft::table::TableError::Ending { .. })
            )
        );
    if bad_recipe { BAD_USAGE } else { FAILED }
}
