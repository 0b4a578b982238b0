//! The paper's ablation: builds the programs and hands the terminal over.
//!
//! The work is done by `xtask/ablation`, a program of its own because it reads Parquet, which this one need not wait for.

use std::path::Path;

use anyhow::Result;

use crate::{
    cargo::{command, replace_with, run},
    libtorch::{self, Want},
};

/// Provides libtorch and builds `reft`, unless the arguments make that needless, and runs the ablation.
pub(crate) fn ablation(root: &Path, args: &[String]) -> Result<()> {
    let mut program = command(root, &["run", "--quiet", "-p", "reft-ablation"]);
    if needs_reft(args) {
        libtorch::provide(root, Want::Any)?;
        run(root, &["build", "--release", "-p", "reft-cli"])?;
        // Beside `reft`, where it looks for it.
        program.arg("--release");
    }
    replace_with(program.arg("--").args(args))
}

/// Whether the arguments ask for runs, and name no `reft` to do them with.
fn needs_reft(args: &[String]) -> bool {
    let has = |name: &str| args.iter().any(|arg| arg.split('=').next() == Some(name));
    !["--reft", "--report-only", "--help", "-h", "--version", "-V"].into_iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reft_is_built_where_it_is_needed() {
        for (args, needed) in [
            (&[][..], true),
            (&["--seeds", "2", "--runs=elsewhere"], true),
            (&["--reft", "target/debug/reft"], false),
            (&["--reft=target/debug/reft"], false),
            (&["--seeds", "2", "--report-only"], false),
            (&["--help"], false),
        ] {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            assert_eq!(needs_reft(&args), needed, "{args:?}");
        }
    }
}
