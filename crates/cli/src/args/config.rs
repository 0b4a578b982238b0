//! `reft config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Name every problem of a recipe, with its key and its file.
    #[command(after_help = "\
Examples:
  reft config check my.toml
  reft config check base.toml changes.toml --set grpo.lr=1e-6")]
    Check(RecipeFiles),
    /// Print a recipe as it would run, with every default written out.
    #[command(after_help = "\
Examples:
  reft config show my.toml
  reft config show base.toml changes.toml --set grpo.lr=1e-6 --json")]
    Show(RecipeFiles),
    /// Print the JSON schema of recipes, for editors and for reading: every key with its meaning and default.
    #[command(after_help = "\
Examples:
  reft config schema")]
    Schema,
    /// Print every key with its type, default and meaning as Markdown: docs/RECIPE.md.
    #[command(after_help = "\
Examples:
  reft config reference")]
    Reference,
}

/// A recipe as files and overrides.
#[derive(Debug, Args)]
pub(crate) struct RecipeFiles {
    /// Recipe files (TOML); later ones override earlier ones.
    #[arg(required = true, value_name = "RECIPE.toml")]
    pub(crate) recipes: Vec<PathBuf>,
    /// Change a setting: `run.seed=3`, `grpo.lr=1e-6` (all phases of that kind), `phase.NAME.steps=5` (one phase).
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}
