//! `reft config check|show|schema|reference`.

use std::{env, path::Path};

use anyhow::Result;
use curr_reft::config::{ConfigError, PhaseConfig, Recipe, Resolved};
use serde_json::json;

use crate::{
    args::{ConfigCommand, RecipeFiles},
    output::{Output, print},
};

pub(super) fn run(command: ConfigCommand, output: Output) -> Result<()> {
    match command {
        ConfigCommand::Check(files) => check(&files, output),
        ConfigCommand::Show(files) => {
            let recipe = Resolved::read(&files.recipes, &files.set)?.recipe;
            let text = recipe.to_toml()?;
            output.print(&recipe, || text)
        }
        ConfigCommand::Reference => print(&Recipe::reference()),
        ConfigCommand::Schema => print(&serde_json::to_string_pretty(&Recipe::json_schema_of_files())?),
    }
}

fn check(files: &RecipeFiles, output: Output) -> Result<()> {
    let checked = Resolved::read(&files.recipes, &files.set).and_then(|resolved| {
        resolved.check_files(&env::current_dir().unwrap_or_else(|_| Path::new(".").to_owned()))?;
        Ok(resolved.recipe)
    });
    match checked {
        Ok(recipe) => {
            let phases: Vec<&str> = recipe.phase.iter().map(PhaseConfig::name).collect();
            output.print(&json!({"ok": true, "phases": phases, "problems": []}), || {
                format!("ok: {} phases ({})", phases.len(), phases.join(", "))
            })
        }
        Err(error) => {
            if let ConfigError::Invalid(problems) = &error {
                let problems: Vec<_> = problems
                    .iter()
                    .map(|p| json!({"key": p.key, "message": p.message, "origin": p.origin}))
                    .collect();
                output.print_if_json(&json!({"ok": false, "problems": problems}))?;
            }
            Err(error.into())
        }
    }
}
