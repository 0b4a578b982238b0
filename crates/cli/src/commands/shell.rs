//! `reft completions`, `reft man`: what the definition of the command line gives besides help.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{args::Cli, output::print};

pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "reft", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(dir: &Path) -> Result<()> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        clap_mangen::generate_to(Cli::command(), dir)
    };
    write().with_context(|| format!("cannot write man pages into `{}`", dir.display()))?;
    print(&format!("man -l {}", dir.join("reft.1").display()))
}
