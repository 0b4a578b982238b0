//! A finished run on the Hugging Face hub: its model, and a card that says what it is.

use std::{fmt::Write as _, fs, path::Path};

use reft_config::{DataConfig, PhaseConfig, Recipe, Resolved};
use reft_eval::summary_table;
use reft_hub::{Hub, HubId, Pushed};

use crate::{
    Error, gains,
    inspect::{Inspection, inspect},
};

/// The model card of a finished run, `README.md` of its repository `ORG/NAME`.
pub fn card(run: &Path, repo: &str) -> Result<String, Error> {
    let look = inspect(run)?;
    if !look.summary.finished {
        let message =
            "the run is not finished, so it has no model to push; `reft train --resume` goes on".to_owned();
        return Err(Error::File { path: run.to_owned(), message });
    }
    let origin = run.join("config.toml");
    let file = |error: std::io::Error| Error::File { path: origin.clone(), message: error.to_string() };
    let toml = fs::read_to_string(&origin).map_err(file)?;
    let recipe = Resolved::from_text(&toml, &origin.to_string_lossy(), &[])?.recipe;
    let is_adapter = run.join("final/adapter_config.json").exists();
    let mut card = front_matter(&recipe, &look, repo, is_adapter);
    let _ = write!(card, "{}", body(&recipe, &look, repo, is_adapter, &toml));
    Ok(card)
}

/// Pushes the model of a finished run with its card. `say` hears of each large file.
pub fn push(
    run: &Path,
    repo: &str,
    private: bool,
    message: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Pushed, Error> {
    let card = card(run, repo)?;
    Ok(Hub::from_env().push(&run.join("final"), Some(&card), repo, private, message, say)?)
}

/// What the hub reads of a card: <https://huggingface.co/docs/hub/model-cards>.
fn front_matter(recipe: &Recipe, look: &Inspection, repo: &str, is_adapter: bool) -> String {
    let mut text = String::from("---\n");
    let _ = writeln!(text, "library_name: {}", if is_adapter { "peft" } else { "transformers" });
    text.push_str("pipeline_tag: image-text-to-text\n");
    if let Some(base) = repo_of(&recipe.model.path) {
        let relation = if is_adapter { "adapter" } else { "finetune" };
        let _ = writeln!(text, "base_model: {base}\nbase_model_relation: {relation}");
    }
    let sets = recipe.data.values().filter_map(|set| match set {
        DataConfig::File(file) => repo_of(&file.path),
        DataConfig::Scenes(_) | DataConfig::Mixture(_) => None,
    });
    let sets: std::collections::BTreeSet<String> = sets.collect();
    if !sets.is_empty() {
        text.push_str("datasets:\n");
        for set in &sets {
            let _ = writeln!(text, "- {set}");
        }
    }
    text.push_str("tags:\n- curr-reft\n");
    let mut kinds: Vec<&str> = recipe.phase.iter().map(PhaseConfig::kind).collect();
    kinds.retain(|kind| ["grpo", "sft"].contains(kind));
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let _ = writeln!(text, "- {kind}");
    }
    if let Some((_, reports)) = look.results.last() {
        let name = repo.rsplit('/').next().unwrap_or(repo);
        let _ = writeln!(text, "model-index:\n- name: {}\n  results:", quoted(name));
        for report in reports {
            let benchmark = quoted(&report.benchmark);
            let _ = writeln!(
                text,
                "  - task:\n      type: image-text-to-text\n    dataset:\n      name: {benchmark}\n      type: {benchmark}\n    \
                 metrics:\n    - type: accuracy\n      value: {:.1}",
                100.0 * report.overall.accuracy
            );
        }
    }
    text.push_str("---\n");
    text
}

fn body(recipe: &Recipe, look: &Inspection, repo: &str, is_adapter: bool, toml: &str) -> String {
    let mut text = format!("\n# {}\n\n", repo.rsplit('/').next().unwrap_or(repo));
    let what = if is_adapter { "A LoRA adapter of" } else { "A model that started from" };
    let _ = writeln!(
        text,
        "{what} `{}`, trained by curr-reft {} (curriculum reinforcement finetuning, arXiv 2503.07065): {}.\n",
        recipe.model.path.display(),
        env!("CARGO_PKG_VERSION"),
        recipe
            .phase
            .iter()
            .map(|phase| format!("`{}` ({})", phase.name(), phase.kind()))
            .collect::<Vec<_>>()
            .join(", ")
    );
    text.push_str("## Data\n\n");
    for (name, set) in &recipe.data {
        let from = match set {
            DataConfig::File(file) => format!("`{}`", file.path.display()),
            DataConfig::Scenes(scenes) => {
                format!("{} scenes of handwritten digits, seed {}", scenes.count, scenes.seed)
            }
            DataConfig::Mixture(_) => "a mixture of the others".to_owned(),
        };
        let _ = writeln!(text, "- `{name}`: {from}");
    }
    if !look.results.is_empty() {
        let _ = writeln!(text, "\n## Scores\n\n```\n{}\n```", summary_table(&look.results).trim_end());
    }
    if !look.gains.is_empty() {
        let table = gains::table(&look.gains);
        let _ = writeln!(
            text,
            "\nChange in points on the same questions (exact paired test):\n\n```\n{}\n```",
            table.trim_end()
        );
    }
    let use_it = if is_adapter {
        format!("from peft import PeftModel\nmodel = PeftModel.from_pretrained(base, \"{repo}\")")
    } else {
        format!(
            "from transformers import AutoModelForImageTextToText, AutoProcessor\nmodel = \
             AutoModelForImageTextToText.from_pretrained(\"{repo}\")\nprocessor = AutoProcessor.from_pretrained(\"{repo}\")"
        )
    };
    let _ = writeln!(text, "\n## Use\n\n```python\n{use_it}\n```\n\n```sh\nreft serve --model {repo}\n```");
    // A longer fence than any that a prompt in the recipe may have.
    let _ = writeln!(text, "\n## Recipe\n\n`````toml\n{}\n`````", toml.trim_end());
    text
}

/// `ORG/NAME` of a path that names the hub.
fn repo_of(path: &Path) -> Option<String> {
    HubId::parse(path).map(|id| id.repo().to_owned())
}

/// As YAML wants any text.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
