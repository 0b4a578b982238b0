//! `reft push`.

use std::io::{self, Write as _};

use anyhow::Result;
use curr_reft::push::{card, push};
use serde_json::json;

use crate::{
    args::{GlobalArgs, PushArgs},
    output::{Output, print},
};

pub(super) fn run(args: &PushArgs, global: GlobalArgs, output: Output) -> Result<()> {
    if args.dry_run {
        return print(card(&args.run, &args.repo)?.trim_end());
    }
    let mut say = |text: &str| {
        if !global.quiet {
            // A progress that nobody reads any more is no reason to stop.
            let _ = writeln!(io::stderr(), "  {text}");
        }
    };
    let pushed = push(&args.run, &args.repo, args.private, &args.message, &mut say)?;
    let shown =
        json!({"url": pushed.url, "commit": pushed.commit, "files": pushed.files, "bytes": pushed.bytes});
    output.print(&shown, || format!("{} files at {} (commit {})", pushed.files, pushed.url, pushed.commit))
}
