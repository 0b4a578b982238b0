//! `push`.

use std::path::{Path, PathBuf};

use clap::Args;
use curr_reft::hub::HubId;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reft push runs/demo --repo me/demo --private
  reft push runs/demo --repo me/demo --dry-run

The token is `HF_TOKEN`, or that of `hf auth login`; the hub is `HF_ENDPOINT`, where it is not huggingface.co.
The card says base, data, scores with intervals, and the recipe; edit it on the hub, or give `--dry-run` to read it first.")]
pub(crate) struct PushArgs {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// The repository, which is made where it is not there.
    #[arg(long, value_name = "ORG/NAME", value_parser = repo)]
    pub(crate) repo: String,
    /// Make a repository that only its owners see.
    #[arg(long)]
    pub(crate) private: bool,
    /// The message of the commit.
    #[arg(long, short, value_name = "TEXT", default_value = "Upload of curr-reft")]
    pub(crate) message: String,
    /// Print the card and push nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn repo(text: &str) -> Result<String, String> {
    let id = HubId::parse(Path::new(&format!("hf://{text}")));
    id.filter(|id| id.repo() == text).map(|_| text.to_owned()).ok_or_else(|| "write ORG/NAME".to_owned())
}
