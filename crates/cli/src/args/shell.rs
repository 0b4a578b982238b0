//! `reft completions`, `reft man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft completions bash
  reft completions zsh
  reft completions fish

Bash reads `~/.local/share/bash-completion/completions/reft`, fish `~/.config/fish/completions/reft.fish`, zsh a file `_reft`
in a folder of `$fpath`.")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft man target/man

One page for each command: `man -l target/man/reft-train.1`.")]
pub(crate) struct ManArgs {
    /// The folder to write into; made when it is not there.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
