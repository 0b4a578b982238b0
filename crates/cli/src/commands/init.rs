//! `reft init`.

use std::{fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result};
use curr_reft::init::{Source, draft};
use serde_json::json;

use crate::{args::InitArgs, output::Output};

pub(super) fn run(args: &InitArgs, output: Output) -> Result<()> {
    let source = Source {
        model: &args.model,
        data: &args.data,
        test: args.test.as_deref(),
        task: args.task,
        name: &args.name,
    };
    let draft = draft(&source)?;
    let shown = args.output.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.output)
        .with_context(|| format!("`{shown}` cannot be written; name another file with `-o`"))?;
    file.write_all(draft.recipe.as_bytes()).with_context(|| format!("`{shown}` cannot be written"))?;
    output.print(&json!({"recipe": args.output, "notes": draft.notes}), || {
        format!("{}\nwritten to {shown}; next: reft train {shown}", draft.notes.join("\n"))
    })
}
