//! One function per command: arguments in, one call of the facade, results out.

mod config;
mod data;
mod init;
mod model;
#[cfg(feature = "hub")]
mod push;
mod run;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod stored;

use anyhow::Result;

use crate::{
    Customize,
    args::{Command, GlobalArgs},
    output::Output,
};

/// Runs a command.
pub(crate) fn run(command: Command, global: GlobalArgs, customize: &mut Customize<'_>) -> Result<()> {
    let output = Output::new(global.json);
    match command {
        Command::Init(args) => init::run(&args, output),
        Command::Train(args) => run::train(args, global, output, customize),
        Command::Inspect(args) => run::inspect(&args, output),
        Command::Compare(args) => run::compare(&args, output),
        Command::Replay(args) => run::replay(&args, output),
        Command::Report(args) => run::report(&args, output),
        Command::Grade(args) => stored::grade(&args, output),
        Command::Score(args) => stored::score(&args, output),
        Command::Reject(args) => stored::reject(&args, output),
        Command::Data(command) => data::run(command, output),
        #[cfg(feature = "hub")]
        Command::Push(args) => push::run(&args, global, output),
        Command::Config(command) => config::run(command, output),
        Command::Generate(args) => model::generate(&args, global, output),
        Command::Logprobs(args) => model::logprobs(&args, global, output),
        Command::Eval(args) => model::eval(&args, global, output),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args, global),
        Command::Merge(args) => model::merge(&args, output),
        Command::Doctor(args) => model::doctor(&args, output),
        Command::Completions(args) => shell::completions(args.shell),
        Command::Man(args) => shell::man(&args.dir),
    }
}
