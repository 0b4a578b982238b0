//! The command line of curr-reft: parse, call one function of the facade, print.
//!
//! As a library it is for a program of your own with stages of your own, which then has everything that `reft` has: recipes
//! and `--set`, progress with the time left, Ctrl-C, resume, reports.
//!
//! ```no_run
//! use curr_reft::pipeline::Stages;
//!
//! fn main() -> std::process::ExitCode {
//!     reft_cli::main_with(|_built, stages| {
//!         if let Stages::Rl(rl) = stages {
//!             rl.max_skipped = 0; // or rl.reward = Box::new(...), rl.curriculum, rl.optimizer
//!         }
//!         Ok(())
//!     })
//! }
//! ```

mod args;
mod commands;
mod follow;
mod interrupt;
mod output;
mod pace;
mod panics;
mod pictures;
mod progress;

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::Parser as _;
use curr_reft::{core::StageError, phases::Built, pipeline::Stages, vlm::Vlm};

use args::Cli;
use reft_allocator as _;

/// What replaces stages of a phase before it runs, see [`RecipePhases::customize`](curr_reft::phases::RecipePhases::customize).
pub(crate) type Customize<'a> = dyn FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError> + 'a;

/// Something failed while it ran.
const FAILED: u8 = 1;
/// Bad usage or a bad recipe; clap uses the same code.
const BAD_USAGE: u8 = 2;

/// Does what the command line of this process says. `train`, new or resumed, hands the stages of each phase to `customize`
/// before it runs; the other commands do not ask for it.
pub fn main_with(
    mut customize: impl FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError>,
) -> ExitCode {
    let cli = Cli::parse();
    match panics::explained(|| commands::run(cli.command, cli.global, &mut customize)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
        Some(Err(error)) => {
            // With nowhere left to complain, the exit code still says it.
            let _ = writeln!(io::stderr(), "error: {}", output::visible(&words(&error)));
            ExitCode::from(code(&error))
        }
    }
}

/// The name of this program, for messages that say how to go on.
fn program() -> String {
    let name = env::args_os().next();
    let name = name.as_deref().and_then(|path| Path::new(path).file_name());
    name.map_or_else(|| "reft".to_owned(), |name| name.to_string_lossy().into_owned())
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
