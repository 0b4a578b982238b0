//! What types cannot say: ranges, names, and how the parts of a recipe refer to each other.
//!
//! Nothing stops at the first problem; [`Recipe::validate`] returns all of them.

mod curriculum;
mod data;
mod filter;
mod forms;
mod lora;
mod loss;
mod phase;
mod reward;
mod servers;

use std::{
    collections::BTreeSet,
    ops::RangeBounds,
    path::{Path, PathBuf},
};

use crate::{Problem, Recipe, node::join};

impl Recipe {
    /// Everything wrong with the values, each problem with its key. Reads no file; see [`Recipe::missing_files`].
    pub(crate) fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut top = At { problems: &mut problems, key: String::new() };
        self.check_run(&mut top.at("run"));
        self.check_model(&mut top.at("model"));
        for (name, set) in &self.data {
            let at = &mut top.at(&format!("data.{name}"));
            at.require(is_plain_name(name), "", || PLAIN_NAME.to_owned());
            data::check(self, set, at);
        }
        self.check_phases(&mut top);
        problems
    }

    /// Paths in the recipe that do not exist; relative ones start at `base`, the working directory of a run.
    pub(crate) fn missing_files(&self, base: &Path) -> Vec<Problem> {
        let mut paths: Vec<(String, &PathBuf)> = vec![("model.path".to_owned(), &self.model.path)];
        if let Some(adapter) = self.model.lora.as_ref().and_then(|lora| lora.adapter.as_ref()) {
            paths.push(("model.lora.adapter".to_owned(), adapter));
        }
        for (name, set) in &self.data {
            let files = data::paths(set).into_iter();
            paths.extend(files.map(|(key, path)| (format!("data.{name}.{key}"), path)));
        }
        for phase in &self.phase {
            if let Some(path) = phase.difficulty_file() {
                paths.push((format!("phase.{}.curriculum.difficulty", phase.name()), path));
            }
        }
        paths
            .into_iter()
            .filter(|(_, path)| !base.join(path).exists())
            .filter_map(|(key, path)| {
                let hint = match hub_name(base, path, key.starts_with("model.")) {
                    HubName::Yes => return None,
                    HubName::Perhaps => format!("; for a model of the hub, write `hf://{}`", path.display()),
                    HubName::No => String::new(),
                };
                let path = path.display();
                let message =
                    format!("`{path}` does not exist; relative paths start at the working directory{hint}");
                Some(Problem::new(key, message))
            })
            .collect()
    }

    fn check_run(&self, at: &mut At<'_>) {
        let run = &self.run;
        at.require(is_file_name(&run.name), "name", || {
            format!(
                "`{}` cannot name a folder; use letters, digits, `-`, `_` and `.`, not starting with `.`",
                run.name
            )
        });
        at.require(i64::try_from(run.seed).is_ok(), "seed", too_large_for_toml);
        at.require(run.keep_checkpoints >= 1, "keep_checkpoints", || {
            "must be at least 1, or a run could not be resumed".to_owned()
        });
    }

    fn check_model(&self, at: &mut At<'_>) {
        let model = &self.model;
        at.require(!model.path.as_os_str().is_empty(), "path", || "must not be empty".to_owned());
        at.require(
            model.init.is_none_or(|init| i64::try_from(init.seed).is_ok()),
            "init.seed",
            too_large_for_toml,
        );
        at.require(model.min_pixels != Some(0), "min_pixels", || "must be at least 1".to_owned());
        at.require(model.max_pixels != Some(0), "max_pixels", || "must be at least 1".to_owned());
        if let (Some(min), Some(max)) = (model.min_pixels, model.max_pixels) {
            at.require(min <= max, "min_pixels", || format!("`{min}` is above `max_pixels` = {max}"));
        }
        if let Some(lora) = &model.lora {
            lora::check(lora, &mut at.at("lora"));
        }
    }

    fn check_phases(&self, top: &mut At<'_>) {
        top.require(!self.phase.is_empty(), "phase", || "a recipe needs at least one `[[phase]]`".to_owned());
        let mut seen = BTreeSet::new();
        for (i, phase) in self.phase.iter().enumerate() {
            let name = phase.name();
            let at = &mut top.at(&format!("phase.{name}"));
            at.require(is_plain_name(name), "name", || format!("`{name}` will not do: {PLAIN_NAME}"));
            at.require(seen.insert(name), "name", || {
                format!("`{name}` names an earlier phase too; names must be unique")
            });
            at.require(!self.data.contains_key(name), "name", || {
                format!("`{name}` names a data set too; an `sft` phase could not tell them apart")
            });
            phase::check(self, i, at);
        }
    }
}

/// Whether something is a name of the Hugging Face hub.
enum HubName {
    Yes,
    /// As likely a path in a folder that is here, misspelt.
    Perhaps,
    No,
}

/// What a path that does not exist is: `hf://...` is of the hub, and `ORG/NAME` for a model, unless there is a folder `ORG`.
fn hub_name(base: &Path, path: &Path, is_model: bool) -> HubName {
    let text = path.to_str().unwrap_or_default();
    if text.starts_with("hf://") {
        return HubName::Yes;
    }
    let Some((org, name)) = text.split_once('/') else { return HubName::No };
    let is_pair = !org.is_empty() && !org.starts_with(['.', '~']) && !name.is_empty() && !name.contains('/');
    match (is_model && is_pair, base.join(org).is_dir()) {
        (false, _) => HubName::No,
        (true, false) => HubName::Yes,
        (true, true) => HubName::Perhaps,
    }
}

/// Where problems are noted, and the key that they are below.
struct At<'a> {
    problems: &'a mut Vec<Problem>,
    key: String,
}

impl At<'_> {
    /// The place of a key below this one.
    fn at(&mut self, key: &str) -> At<'_> {
        At { key: join(&self.key, key), problems: &mut *self.problems }
    }

    /// Notes a problem unless `holds`. An empty key is this place itself.
    fn require(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            let key = match key {
                "" => self.key.clone(),
                key => join(&self.key, key),
            };
            self.problems.push(Problem::new(key, message()));
        }
    }

    /// A count that must not be 0.
    fn at_least_one(&mut self, count: u64, key: &str) {
        self.require(count >= 1, key, || "must be at least 1".to_owned());
    }

    /// A number that must lie in a range, which `words` describes.
    fn in_range(&mut self, number: f64, range: impl RangeBounds<f64>, key: &str, words: &str) {
        // Also refuses NaN, which no range contains; infinity lies in open-ended ranges.
        self.require(number.is_finite() && range.contains(&number), key, || {
            format!("`{number}` must be {words}")
        });
    }
}

const PLAIN_NAME: &str = "use letters, digits, `-` and `_`; the name is part of keys and paths";

/// Whether a text can name a phase, a data set, or the folder of a benchmark: no dot, so that they can be told apart in
/// `--set phase.NAME.key`.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn is_file_name(name: &str) -> bool {
    !name.starts_with('.') && !name.is_empty() && is_plain_name(&name.replace('.', "_"))
}

fn too_large_for_toml() -> String {
    format!("must not be above {}, the largest integer of TOML", i64::MAX)
}
